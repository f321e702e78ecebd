"""The manifest: one way to write it, bounds on all it says, and no other error than ours for any bytes."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_agent.errors import BadBundleError
from edge_agent.models import bundle
from edge_agent.models.bundle import (
    BundleFile,
    FeatureBlock,
    FeatureLayout,
    Manifest,
    Provenance,
    Tolerance,
)

names = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,20}\Z")
hashes = st.from_regex(r"\A[0-9a-f]{64}\Z")
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)
shares = st.floats(0, 1)


@st.composite
def manifests(draw):
    used = draw(st.lists(names, min_size=5, max_size=8, unique=True))
    sizes = st.integers(1, 2**20)
    files = [BundleFile(name=name, size=draw(sizes), sha256=draw(hashes)) for name in used if name != "manifest.json"]
    if len(files) < 5:
        files.append(BundleFile(name="one-more", size=1, sha256="0" * 64))
    flavours = draw(st.lists(names, min_size=len(files) - 4, max_size=len(files) - 4, unique=True))
    blocks = [
        FeatureBlock(name=name, width=draw(st.integers(1, 400)))
        for name in draw(st.lists(names, min_size=1, max_size=7, unique=True))
    ]
    classes = draw(st.lists(texts, min_size=1, max_size=9, unique=True))
    low, high = sorted((draw(shares), draw(shares)))
    return Manifest(
        name=draw(names),
        version=draw(names),
        created="2026-01-02T03:04:05.678Z",
        kind=draw(names),
        input_px=(draw(st.integers(16, 1024)), draw(st.integers(16, 1024))),
        encoders=dict(zip(flavours, files[4:], strict=True)),
        features=FeatureLayout(blocks=tuple(blocks), map_block=draw(st.sampled_from(blocks)).name),
        head=files[0],
        classes=tuple(classes),
        good_classes=tuple(classes[: draw(st.integers(0, len(classes)))]),
        threshold=high,
        hold_below=low,
        temperature=draw(st.floats(1e-6, 1e6)),
        golden=files[1],
        scores=files[2],
        feature_code=files[3],
        tolerances={name: Tolerance(vector=draw(shares), score=draw(shares)) for name in flavours},
        provenance=Provenance(
            weights_sha256=draw(hashes),
            calibration_sha256=draw(hashes),
            packages=draw(st.dictionaries(names, texts, max_size=4)),
            seeds=draw(st.dictionaries(names, st.integers(0, 2**63 - 1), max_size=4)),
        ),
        licences=tuple(draw(st.lists(texts, max_size=3))),
        trained_on=draw(names),
    )


@pytest.fixture(scope="module")
def content(pristine):
    return (pristine / bundle.MANIFEST_NAME).read_bytes()


def changed(content, **fields):
    return canonical(json.loads(content) | fields)


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@given(manifests())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_written_is_what_is_read(manifest):
    written = bundle.to_bytes(manifest)

    assert bundle.from_bytes(written) == manifest
    assert bundle.to_bytes(bundle.from_bytes(written)) == written


def test_every_prefix_is_refused(content):
    for length in range(len(content)):
        with pytest.raises(BadBundleError):
            bundle.from_bytes(content[:length])


@pytest.mark.parametrize("tail", [b"\n", b" ", b"{}", b"\x00"])
def test_bytes_after_the_end_are_refused(content, tail):
    with pytest.raises(BadBundleError):
        bundle.from_bytes(content + tail)


@given(st.binary(max_size=200))
@example(b"[" * 60_000)
@example(b'{"schema":' * 60)
@example(b'{"schema":1e999}\n')
@example(b'{"schema":NaN}\n')
@example(b'"\\ud800"\n')
@example(b"1" * 5000)
@example(b"\xff\xfe")
def test_any_bytes_are_a_manifest_or_our_error(garbage):
    with pytest.raises(BadBundleError):
        bundle.from_bytes(garbage)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_field_is_read_or_our_error(content, data):
    value = json.loads(content)
    where = value
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [key for key in where if isinstance(where[key], dict)]
        if not inner:
            break
        where = where[data.draw(st.sampled_from(sorted(inner)))]
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(json_values)
    with contextlib.suppress(BadBundleError):
        bundle.from_bytes(canonical(value))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"schema": 2}, "schema is 2, this program knows 1"),
        ({"name": "../surface"}, "manifest.json: name: expected text like"),
        ({"name": "Surface"}, "name: expected text like"),
        ({"input_px": [224]}, "input_px: expected an array of 2 to 2"),
        ({"input_px": [224, 1e9]}, "input_px[1]: expected a whole number from 16 to 1024"),
        ({"input_px": [True, 224]}, "input_px[0]: expected a whole number"),
        ({"threshold": 1.5}, "threshold: expected a number from 0.0 to 1.0, found 1.5"),
        ({"temperature": 0}, "temperature: expected a number"),
        ({"classes": []}, "classes: expected an array of 1 to 256"),
        ({"classes": ["ok"] * 2}, "are not all different"),
        ({"good_classes": ["unheard-of"]}, "are not all among the classes"),
        ({"threshold": 0.1, "hold_below": 0.4}, "hold_below 0.4 is above threshold 0.1"),
        ({"encoders": {}}, "encoders: expected an object of 1 to 8 entries"),
        ({"tolerances": {"fp32": {"vector": 0.1, "score": 0.1}}}, "tolerances are for ['fp32'], encoders for ['u8s8']"),
        ({"features": {"blocks": [{"name": "a", "width": 3}], "map_block": "b"}}, "map_block 'b' is none of ['a']"),
        (
            {"features": {"blocks": [{"name": "a", "width": 16384}] * 2, "map_block": "a"}},
            "different names and at most",
        ),
        ({"created": "yesterday"}, "created: expected text like"),
        ({"head": {"name": "a/b", "size": 1, "sha256": "0" * 64}}, "head.name: expected text like"),
        ({"head": {"name": "manifest.json", "size": 1, "sha256": "0" * 64}}, "a file is called manifest.json"),
        ({"head": {"name": "h", "size": 10**12, "sha256": "0" * 64}}, "head.size: expected a whole number"),
        ({"head": {"name": "h", "size": 1}}, "head: sha256 is missing"),
        ({"provenance": []}, "provenance: expected an object"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_its_place(content, fields, word):
    with pytest.raises(BadBundleError) as caught:
        bundle.from_bytes(changed(content, **fields))

    assert word in str(caught.value).replace("manifest.json: manifest.json", "manifest.json")


def test_a_field_that_we_do_not_know_is_ignored_and_counts_for_the_digest(content):
    newer = changed(content, colour="blue")

    assert bundle.from_bytes(newer) == bundle.from_bytes(content)
    assert bundle.digest(newer) != bundle.digest(content)


@pytest.mark.parametrize(
    "other",
    [
        lambda content: json.dumps(json.loads(content)).encode(),
        lambda content: json.dumps(json.loads(content), indent=1, sort_keys=True).encode() + b"\n",
        lambda content: b'{"name":"first",' + content[1:],
        lambda content: content.replace(b'"surface"', b'"\\u0073urface"'),
    ],
    ids=["spaces", "indented", "repeated key", "escaped"],
)
def test_there_is_only_one_way_to_write_a_manifest(content, other):
    with pytest.raises(BadBundleError, match="not canonical"):
        bundle.from_bytes(other(content))


def test_a_manifest_that_is_too_long_is_not_even_parsed():
    with pytest.raises(BadBundleError, match="at most 65536 are read"):
        bundle.from_bytes(b" " * (bundle.MANIFEST_MAX_BYTES + 1))


def test_the_map_is_a_part_of_the_vector(content):
    layout = bundle.from_bytes(content).features

    assert layout.dimension == 24
    assert layout.map_slice == slice(8, 24)


@given(st.text(alphabet='[]{}"\\ab', max_size=60))
def test_brackets_and_quotes_inside_a_text_are_no_nesting(text):
    content = json.dumps({"a": [text]}, ensure_ascii=False).encode()

    assert bundle._nesting(content) == 2


@pytest.mark.parametrize("content", [b"[" * 9 + b"]" * 9, b'{"a":' * 9 + b"1" + b"}" * 9])
def test_what_lies_deeper_than_any_manifest_is_refused_before_it_is_parsed(content):
    with pytest.raises(BadBundleError, match="nested 9 deep, at most 8"):
        bundle.from_bytes(content)
