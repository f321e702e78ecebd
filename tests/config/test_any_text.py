"""Whatever stands in the file: it loads, or every fault has a place inside it. Nothing else ever happens."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config.faults import Fault, InvalidConfigError
from edge_agent.config.reference import SMALLEST
from edge_agent.config.settings import Settings, loads
from edge_agent.config.template import Draft, render
from tests.config.samples import FILE

FULL = render(
    Draft(
        site={"enterprise": "acme", "plant": "lyon", "gateway": "gw-07"},
        cameras={"a": {"source": "synthetic:scratches"}},
        mqtt={"url": "mqtt://localhost:1883"},
    )
).replace("#: ", "")
CHARACTERS = "abkno019 \t\n\r:-,.#&*!|>'\"%@`[]{}<?~/\\\0\x07\x85\u2028\ud7ff\U0001f600=_+e"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def faults_of(content: bytes) -> tuple[Fault, ...]:
    try:
        assert isinstance(loads(content, file=FILE, environment={}), Settings)
    except InvalidConfigError as error:
        return error.faults or pytest.fail("refused without a fault")
    return ()


def loads_or_tells(content: bytes) -> None:
    # Lines as YAML 1.1 counts them; a fault at the end of the file may stand just behind the last one.
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", content.decode("utf-8-sig", errors="replace"))
    for fault in faults_of(content):
        assert fault.file == str(FILE)
        assert 1 <= fault.line <= len(lines)
        assert 1 <= fault.column <= max(map(len, lines)) + 1
        assert fault.expected


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=CHARACTERS, max_size=60))
def test_any_text_loads_or_is_told_with_places(text):
    loads_or_tells(text.encode("utf-8", errors="surrogatepass"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_load_or_are_told_with_places(content):
    loads_or_tells(content)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(FULL)), st.integers(0, 12), st.text(alphabet=CHARACTERS, max_size=6))
def test_a_slip_anywhere_in_a_good_file_loads_or_is_told_with_places(start, length, typed):
    loads_or_tells((FULL[:start] + typed + FULL[start + length :]).encode("utf-8", errors="surrogatepass"))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["site", "cameras", "mqtt", "inspection", "logging", "version", "storage", "device"]), VALUES)
def test_any_value_anywhere_loads_or_is_told_with_places(section, value):
    import yaml

    tree = yaml.safe_load(SMALLEST)
    tree[section] = value
    loads_or_tells(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", errors="surrogatepass"))
