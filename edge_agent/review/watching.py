"""What the cameras see now: the newest frame where inspect offers one, else the newest picture that was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from edge_agent.errors import BadEvidenceError, TransientError
from edge_agent.evidence.catalogue import Wanted
from edge_agent.evidence.overview import by_camera
from edge_agent.records import Sample
from edge_agent.review.desk import Evidence
from edge_agent.review.office import CameraNow
from edge_agent.review.visit import Visit


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One camera: `now` is None where inspect does not speak of it; `frame` whether there is a picture of this moment,
    `newest` what was kept last.
    """

    name: str
    now: CameraNow | None
    frame: bool
    newest: Sample | None


async def live(visit: Visit) -> Response:
    """Every camera; the page's script asks for it again every two seconds."""
    floor = visit.office.floor
    floor.watched()
    now = floor.cameras()
    try:
        kept = await visit.office.desk.ask(_newest)
    except TransientError:
        kept = {}
    names: Sequence[str] = sorted(now if now is not None else kept)
    watched = [
        Watched(
            name=name,
            now=None if now is None else now[name],
            frame=now is not None and floor.picture(name) is not None,
            newest=kept.get(name),
        )
        for name in names
    ]
    return visit.page("live.html", watched=watched, running=now is not None, at=visit.office.clock.utc_s())


def _newest(evidence: Evidence) -> dict[str, Sample]:
    found: dict[str, Sample] = {}
    for counts in by_camera(evidence.store.database):
        if counts.camera is not None:
            found[counts.camera] = evidence.catalogue.find(Wanted(camera=counts.camera), limit=1)[0]
    return found


async def frame(visit: Visit) -> Response:
    """The newest frame of a camera that is running."""
    name = visit.request.path_params["camera"]
    floor = visit.office.floor
    # Names come from the snapshot, never from the address: no path is made of what a browser says.
    content = floor.picture(name) if name in (floor.cameras() or {}) else None
    if content is None:
        raise BadEvidenceError(f"no frame of camera {name!r} now")
    return Response(content, media_type="image/jpeg")
