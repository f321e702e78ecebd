"""One request of one person: who it is, what the form says, and what becomes of an error.

cookie -> session -> still the same person in the file? -> POST: the session's own form? -> the page
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from edge_agent.errors import BadEvidenceError, ConfigError, CorruptStoreError, RefusedError, TransientError
from edge_agent.review.office import Office
from edge_agent.review.people import Role
from edge_agent.review.sessions import Session

log = logging.getLogger(__name__)

COOKIE = "edge-review"
MOST_FIELDS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a page is given. `form` is empty for a GET; `ask` reads the query."""

    office: Office
    request: Request
    secret: str
    session: Session
    form: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.session.person.name

    @property
    def may_adjudicate(self) -> bool:
        return self.session.person.role is Role.ADJUDICATOR

    def ask(self, name: str) -> str:
        """A word of the query, without spaces around it; "" where there is none."""
        return self.request.query_params.get(name, "").strip()

    def page(self, template: str, status: int = 200, **facts: object) -> HTMLResponse:
        """A page, with what the last action had to say."""
        said, self.session.said = self.session.said, ""
        facts |= {"session": self.session, "adjudicator": self.may_adjudicate, "path": self.request.url.path}
        text = self.office.render(template, said=said, **facts)
        return HTMLResponse(text, status)


Page = Callable[[Visit], Awaitable[Response]]


def go(path: str, **query: str) -> RedirectResponse:
    """To another page, as an answer to a form: reloading it does nothing twice."""
    words = urllib.parse.urlencode({name: value for name, value in query.items() if value})
    return RedirectResponse(f"{path}?{words}" if words else path, status_code=303)


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form; of two with one name the last. The guard has seen to its length."""
    body = (await request.body()).decode("utf-8", errors="replace")
    try:
        return dict(urllib.parse.parse_qsl(body, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        return {}


def for_people(office: Office, page: Page) -> Callable[[Request], Awaitable[Response]]:
    """The page, for those who are logged in; others are sent to the login."""

    async def endpoint(request: Request) -> Response:
        secret = request.cookies.get(COOKIE, "")
        try:
            # A page that refreshes itself keeps nobody logged in.
            session = office.sessions.find(secret, touch="refresh" not in request.query_params)
            if session is not None and office.people.find(session.person.name) != session.person:
                office.sessions.end(secret)
                session = None
        except ConfigError as error:
            return fault(office, error, 503)
        if session is None:
            return go("/login")
        form = await read_form(request) if request.method == "POST" else {}
        if request.method == "POST" and not session.is_form_of(form.get("token", "")):
            return fault(office, "This form is not of your present session: open the page again.", 403)
        visit = Visit(office=office, request=request, secret=secret, session=session, form=form)
        return await _answer(visit, page)

    return endpoint


async def _answer(visit: Visit, page: Page) -> Response:
    try:
        return await page(visit)
    except RefusedError as error:
        missing = isinstance(error, BadEvidenceError)
        return visit.page("fault.html", 404 if missing else 400, fault=plain(error), again=False)
    except (TransientError, CorruptStoreError) as error:
        log.warning("page=%s reason=%s", visit.request.url.path, error)
        return visit.page("fault.html", 503, fault=str(error), again=True)


def plain(error: RefusedError) -> str:
    """What happened, without the advice for the command line."""
    text = str(error).partition(";")[0]
    return text[:1].upper() + text[1:] + "."


def fault(office: Office, error: Exception | str, status: int) -> HTMLResponse:
    """A page for somebody who is nobody yet."""
    if isinstance(error, Exception):
        log.error("page=fault reason=%s", error)
    text = "The page cannot tell who you are; its log says why." if isinstance(error, Exception) else error
    return HTMLResponse(office.render("stranger.html", fault=text), status)
