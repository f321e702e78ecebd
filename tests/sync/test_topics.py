import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BadMessageError
from edge_agent.sync.topics import TOPICS, Branch, check_topic, parse_tail

BRANCH = Branch(root=("acme", "lyon"), gateway="gw-07")

segments = st.text(st.characters(blacklist_characters="+#/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12)


def test_a_topic_is_root_version_gateway_and_tail():
    assert BRANCH.topic("insp/press-3") == "acme/lyon/ev1/gw-07/insp/press-3"


@pytest.mark.parametrize("shape", TOPICS, ids=lambda shape: shape.name)
@given(data=st.data())
def test_every_topic_that_can_be_built_is_read_back_as_what_it_was(shape, data):
    names = {part[1:-1]: data.draw(segments) for part in shape.pattern.split("/") if part.startswith("<")}
    tail = "/".join(names.get(part.strip("<>"), part) for part in shape.pattern.split("/"))

    found = parse_tail(BRANCH.tail(BRANCH.topic(tail)))

    assert found == (shape, names)


@given(st.text(max_size=40))
def test_any_text_is_either_a_row_of_the_table_or_none(text):
    found = parse_tail(text)

    assert found is None or len(text.split("/")) == len(found[0].pattern.split("/"))


@pytest.mark.parametrize("topic", ["a/+/b", "a/#", "a//b", "", "a/b\0c", "/".join("abcdefghi"), "x" * 257, "ä" * 129])
def test_what_a_broker_would_refuse_is_refused_here(topic):
    with pytest.raises(BadMessageError):
        check_topic(topic)


@pytest.mark.parametrize("gateway", ["", "GW", "gw_1", "a" * 65, "gw/1", "gw+", "#", "gw\n"])
def test_a_gateway_name_that_an_acl_pattern_could_misread_is_refused(gateway):
    with pytest.raises(BadMessageError):
        Branch(root=("acme",), gateway=gateway)


@pytest.mark.parametrize("root", [(), ("a", "b", "c", "d"), ("$SYS",), ("",), ("a/b",), ("+",)])
def test_a_root_that_is_not_one_to_three_plain_levels_is_refused(root):
    with pytest.raises(BadMessageError):
        Branch(root=root, gateway="gw-1")


def test_the_deepest_topic_of_all_has_eight_levels():
    deepest = Branch(root=("a", "b", "c"), gateway="gw-1").topic("cmd/model/1")

    assert len(deepest.split("/")) == 8


@pytest.mark.parametrize(
    "topic", ["acme/lyon/ev1/gw-070/status", "acme/lyon/ev1/gw-07/", "other", "acme/lyon/ev1/gw-07"]
)
def test_another_gateways_topic_is_not_ours(topic):
    assert BRANCH.tail(topic) is None
