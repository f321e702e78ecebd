"""Evidence: said once for all cameras, repeated where one differs."""

import pytest

from edge_agent.config.evidence import KEPT, HoldWord, Kept
from edge_agent.config.settings import schema
from edge_agent.records import HoldReason, KeepReason
from tests.config.samples import read, smallest, the_fault


def test_every_camera_keeps_by_the_section_and_one_may_differ_in_some_keys():
    settings = read(
        smallest(
            camera="    evidence: {pass_share: 0.5}\n  side: {source: 'synthetic:pits'}\n",
            top="evidence: {per_hour: 7, pass_share: 0.1}\n",
        )
    )

    assert settings.keeping("side").per_hour == settings.keeping("press-3-top").per_hour == 7
    assert (settings.keeping("side").pass_share, settings.keeping("press-3-top").pass_share) == (0.1, 0.5)


@pytest.mark.parametrize("nothing", ["", "    evidence:\n", "    evidence: {}\n"])
def test_a_camera_that_says_nothing_keeps_as_all_do(nothing):
    settings = read(smallest(camera=nothing, top="evidence: {per_hour: 7}\n"))

    assert settings.keeping("press-3-top").per_hour == 7


def test_what_is_said_for_the_whole_store_is_not_said_for_a_camera():
    fault = the_fault(smallest(camera="    evidence: {limit_bytes: 5000000}\n"))

    assert (fault.key, fault.found) == ("cameras.press-3-top.evidence.limit_bytes", "an unknown key")


def test_a_fault_in_the_section_is_told_once_whoever_inherits_it():
    fault = the_fault(smallest(camera="    evidence: {pass_share: 0.5}\n", top="evidence: {per_hour: 0}\n"))

    assert (fault.key, fault.expected) == ("evidence.per_hour", "a whole number from 1 to 10 000")


def test_the_words_of_the_file_are_those_of_the_program():
    assert {KeepReason(word) for word in KEPT} == set(KeepReason) - {KeepReason.IMPORT}
    assert Kept.__args__ == KEPT
    assert {HoldReason(word) for word in HoldWord.__args__} <= set(HoldReason)
    assert "evidence" in schema()["properties"]
