"""The bytes of a picture, for those who are logged in, kept by no cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from starlette.responses import Response

from edge_agent.errors import BadEvidenceError
from edge_agent.review.desk import Evidence
from edge_agent.review.visit import Visit

# Everything the store keeps (evidence/pictures.py). No browser but Safari shows TIFF; the page says so.
KINDS: Mapping[str, str] = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
}


async def heat(visit: Visit) -> Response:
    """Where the model saw a defect in a kept picture: a small PNG to lay over it."""
    identity = visit.request.path_params["sample"]
    content = await visit.office.desk.ask(lambda evidence: evidence.catalogue.heat(identity))
    if content is None:
        raise BadEvidenceError(f"no heat is kept of sample {identity}")
    return Response(content, media_type="image/png")


async def picture(visit: Visit) -> Response:
    """A kept picture, by the id of its sample; no path ever comes from outside."""
    identity = visit.request.path_params["sample"]

    def read(evidence: Evidence) -> tuple[str, bytes]:
        known = evidence.catalogue.sample(identity)
        return known.file, evidence.store.database.pictures.read(known.file)

    file, content = await visit.office.desk.ask(read)
    return Response(content, media_type=KINDS.get(PurePath(file).suffix, "application/octet-stream"))
