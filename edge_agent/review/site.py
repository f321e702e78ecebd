"""The page as an ASGI application: which address shows what."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from edge_agent.review import entry, labelling, lists, pictures, watching
from edge_agent.review.guard import Guard
from edge_agent.review.office import Office
from edge_agent.review.visit import Page, Visit, for_people, go

STATIC = Path(__file__).with_name("static")


async def _start(_request: Request) -> Response:
    return go("/queue")


async def _help(visit: Visit) -> Response:
    return visit.page("help.html")


LOOKED_AT: dict[str, Page] = {
    "/queue": labelling.queue,
    "/help": _help,
    "/sample/{sample}": labelling.sample,
    "/picture/{sample}": pictures.picture,
    "/heat/{sample}": pictures.heat,
    "/disputes": lists.disputes,
    "/search": lists.search,
    "/history": lists.history,
    "/cameras": lists.cameras,
    "/live": watching.live,
    "/frame/{camera}": watching.frame,
}
SENT: dict[str, Page] = {
    "/label": labelling.say,
    "/undo": labelling.undo,
    "/skip": labelling.skip,
    "/logout": entry.leave,
}


def site(office: Office, names: Iterable[str]) -> ASGIApp:
    """The whole page; `names` are the host names that people may use for it."""
    door = entry.Entry(office)
    return Guard(
        Starlette(
            routes=[
                Route("/", _start),
                Route("/login", door.show, methods=["GET"]),
                Route("/login", door.take, methods=["POST"]),
                *(Route(path, for_people(office, page), methods=["GET"]) for path, page in LOOKED_AT.items()),
                *(Route(path, for_people(office, page), methods=["POST"]) for path, page in SENT.items()),
                Mount("/static", StaticFiles(directory=STATIC)),
            ]
        ),
        names,
        tls=office.secure,
    )
