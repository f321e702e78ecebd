"""Logging in and out."""

from __future__ import annotations

import asyncio
import logging
import math

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from edge_agent.errors import ConfigError
from edge_agent.review.office import Office
from edge_agent.review.passwords import hashed, matches
from edge_agent.review.people import Person
from edge_agent.review.visit import COOKIE, Visit, fault, go, read_form

log = logging.getLogger(__name__)

# A name that nobody has takes as long as one that somebody has: what the page answers tells no names.
_NOBODY = hashed("nobody has this password", bytes(16))
WRONG = "That name and password do not belong together."
MOST_WAITING = 4


class Entry:
    """The two forms that need no session."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._waiting = 0

    async def show(self, request: Request) -> Response:
        """The login form."""
        if self._office.sessions.find(request.cookies.get(COOKIE, "")) is not None:
            return go("/queue")
        try:
            return self._form(nobody=not self._office.people.all())
        except ConfigError as error:
            return fault(self._office, error, 503)

    async def take(self, request: Request) -> Response:
        """Somebody's name and password."""
        form = await read_form(request)
        name, password = form.get("name", "").strip(), form.get("password", "")
        address = request.client.host if request.client else ""
        wait_s = self._office.throttle.wait_s(address, name)
        if wait_s > 0:
            return self._form(f"Too many wrong passwords: try again in {math.ceil(wait_s)} seconds.", status=429)
        if self._waiting >= MOST_WAITING:
            return self._form("Too many people log in at once: try again.", status=503)
        try:
            person = await self._person(name, password)
        except ConfigError as error:
            return fault(self._office, error, 503)
        if person is None:
            self._office.throttle.failed(address, name)
            log.warning("login=refused name=%r address=%s", name[:64], address)
            return self._form(WRONG, status=403, name=name)
        self._office.throttle.succeeded(address, name)
        log.info("login=%r address=%s role=%s", person.name, address, person.role.value)
        return self._welcome(person)

    async def _person(self, name: str, password: str) -> Person | None:
        known = self._office.people.find(name)
        kept = _NOBODY if known is None else known.password
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._office.passwords, matches, password, kept)
        finally:
            self._waiting -= 1
        return known if right else None

    def _welcome(self, person: Person) -> Response:
        secret, _ = self._office.sessions.begin(person)
        answer = go("/queue")
        answer.set_cookie(COOKIE, secret, path="/", httponly=True, samesite="strict", secure=self._office.secure)
        return answer

    def _form(self, problem: str = "", *, status: int = 200, name: str = "", nobody: bool = False) -> HTMLResponse:
        facts = {"problem": problem, "name": name, "nobody": nobody, "secure": self._office.secure}
        return HTMLResponse(self._office.render("login.html", **facts), status)


async def leave(visit: Visit) -> Response:
    """Log out."""
    visit.office.sessions.end(visit.secret)
    answer = go("/login")
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=visit.office.secure)
    return answer
