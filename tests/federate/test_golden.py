"""Golden files: what was written once is read for ever, and what is written today says the same, section by section."""

import pytest
import zstandard

from edge_agent.federate import packing, statistics_code
from tests.federate import golden
from tests.federate.samples import BASE, fixed_statistics, same


@pytest.mark.parametrize("name", sorted(golden.made()))
def test_today_s_writer_says_what_the_golden_file_says(name):
    """Section by section, for another version of zstd may find shorter frames."""
    made, kept = golden.made()[name], (golden.FOLDER / name).read_bytes()

    assert _said(made) == _said(kept)


def _said(content: bytes) -> list[bytes]:
    layout = {statistics_code.FORMAT: (statistics_code._HEADER, 5)}[content[4:32].rstrip(b"\0").decode()]
    header, count = layout
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
