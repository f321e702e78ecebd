"""The golden files: one for each version of each format, with what it holds. `python -m tests.federate.golden` writes
those that are missing, never one that is there: a file that no longer fits means a new version of the format.

A program reads version N and N - 1 of each format and writes the one that the offer names: files of N - 1 stay here,
and are read, until version N + 1 comes.
"""

import dataclasses
from pathlib import Path

from edge_agent.federate import blocks, delta_code, messages, statistics_code
from tests.federate import said
from tests.federate.samples import BASE, fixed_delta, fixed_statistics

FOLDER = Path(__file__).parent / "golden"
# A file whose last block is short.
MANIFEST = dataclasses.replace(said.MANIFEST, size_bytes=4 * 65_536 + 64)
LAST_PIECE = bytes(range(64))
MESSAGES = {
    "offer": said.OFFER,
    "contribution": said.READY,
    "declined": said.DECLINED,
    "receipt": said.COUNTED,
    "refused": said.REFUSED,
    "blocks": said.WANT,
}


def made() -> dict[str, bytes]:
    """What today's writers make, by the name of the file."""
    exact, coarse = (statistics_code.share(BASE, fixed_statistics(), levels=levels) for levels in (0, 127))
    part = statistics_code.share(BASE, fixed_statistics(), ((0, 4), (9, 20)))
    return {
        "statistics-1-exact.bin": statistics_code.to_bytes(exact),
        "statistics-1-127.bin": statistics_code.to_bytes(coarse),
        "statistics-1-part.bin": statistics_code.to_bytes(part),
        "delta-1-plane.bin": delta_code.to_bytes(fixed_delta(), BASE, coarseness=0.25)[0],
        "delta-1-gaps.bin": delta_code.to_bytes(fixed_delta(), BASE, coarseness=4.0)[0],
        "block-1.bin": blocks.write_block(MANIFEST, 4, LAST_PIECE),
        **{f"{name}-1.json": messages.write(record) for name, record in MESSAGES.items()},
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in made().items():
        if not (FOLDER / name).exists():
            (FOLDER / name).write_bytes(content)
