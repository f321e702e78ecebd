"""Golden files: what was written once is read for ever, and what is written today says the same, section by section."""

import numpy as np
import pytest
import zstandard

from edge_agent.federate import blocks, delta_code, messages, packing, statistics_code
from tests.federate import golden
from tests.federate.samples import BASE, fixed_delta, fixed_statistics, same


@pytest.mark.parametrize("name", sorted(golden.made()))
def test_today_s_writer_says_what_the_golden_file_says(name):
    """Section by section, for another version of zstd may find shorter frames."""
    made, kept = golden.made()[name], (golden.FOLDER / name).read_bytes()

    assert _said(made) == _said(kept)


def _said(content: bytes) -> list[bytes]:
    if not content[4:].startswith(b"edge-agent/"):  # a block or a message: nothing in it is compressed
        return [content]
    header, count = {
        statistics_code.FORMAT: (statistics_code._HEADER, 5),
        delta_code.FORMAT: (delta_code._HEADER, 3),
    }[content[4:32].rstrip(b"\0").decode()]
    fields = header.unpack_from(content)
    sections = packing.cut(content, header.size, fields[-count:], "golden")
    return [repr(fields[1:-count]).encode(), *map(_inflated, sections)]


def _inflated(section: bytes) -> bytes:
    if section[:4] != b"\x28\xb5\x2f\xfd":  # RFC 8878, 3.1.1: the magic number
        return section
    return zstandard.ZstdDecompressor().decompress(section)


def test_every_golden_file_is_of_a_format_that_is_known():
    assert {path.name for path in golden.FOLDER.iterdir()} == set(golden.made())


def test_golden_statistics_hold_the_sums_that_they_were_made_from():
    exact, coarse, part = (
        statistics_code.from_bytes((golden.FOLDER / f"statistics-1-{name}.bin").read_bytes(), base=BASE)
        for name in ("exact", "127", "part")
    )
    assert same(exact.statistics, fixed_statistics())
    assert coarse.levels == 127
    assert part.features == ((0, 4), (9, 20))


@pytest.mark.parametrize("name", ["plane", "gaps"])
def test_golden_deltas_hold_what_they_were_made_from_but_for_their_residual(name):
    learned = fixed_delta()
    shapes = {name: array.shape for name, array in learned.items()}
    coarseness = {"plane": 0.25, "gaps": 4.0}[name]

    found = delta_code.from_bytes((golden.FOLDER / f"delta-1-{name}.bin").read_bytes(), shapes, base=BASE)

    residual = delta_code.to_bytes(learned, BASE, coarseness=coarseness)[1]
    for tensor, array in learned.items():
        assert np.allclose(found[tensor] + residual.tensors[tensor], array, rtol=1e-6)


@pytest.mark.parametrize("name", golden.MESSAGES)
def test_golden_messages_are_read_as_what_they_were(name):
    record = golden.MESSAGES[name]

    assert messages.read(type(record), (golden.FOLDER / f"{name}-1.json").read_bytes()) == record


def test_the_golden_block_is_read_as_what_it_was():
    assert blocks.read_block(golden.MANIFEST, (golden.FOLDER / "block-1.bin").read_bytes()) == (4, golden.LAST_PIECE)
