"""Laws of versions, marks and cohorts."""

import pytest

from edge_agent.coordinator.cohorts import Cohort, parse_cohort
from edge_agent.coordinator.versions import NEWEST, OLDEST, Mark, check_coordinator, check_offer, negotiate, renewed
from edge_agent.errors import ConfigError, RefusedError


def test_the_newest_version_that_both_speak_is_taken_and_the_one_before_still_works():
    assert negotiate(1, NEWEST + 5) == NEWEST
    assert negotiate(OLDEST, OLDEST) == OLDEST


def test_a_side_that_is_too_old_is_named():
    with pytest.raises(RefusedError, match="update the coordinator"):
        negotiate(NEWEST + 1, NEWEST + 2)
    with pytest.raises(RefusedError, match="update the gateway"):
        negotiate(0, OLDEST - 1)


def test_a_restored_database_is_refused_on_both_sides_until_a_new_epoch():
    ours, seen = Mark(epoch=1, number=4), Mark(epoch=1, number=9)
    with pytest.raises(RefusedError, match="older than its gateways"):
        check_coordinator(ours, seen, "gw-1")
    with pytest.raises(RefusedError, match="already seen"):
        check_offer(Mark(epoch=1, number=5), seen)
    begun = renewed(ours, seen)
    check_coordinator(begun, seen, "gw-1")
    check_offer(begun, seen)
    check_offer(seen, seen)
    check_offer(Mark(epoch=1, number=1), None)


def test_a_cohort_is_written_and_read_and_chooses_by_tags():
    cohort = parse_cohort("product=pcb, line=3|4")
    assert parse_cohort(str(cohort)) == cohort
    assert {"product": "pcb", "line": "4", "hall": "b"} in cohort
    assert {"product": "pcb", "line": "5"} not in cohort
    assert {"product": "pcb"} not in cohort
    assert {} in Cohort()
    assert {} in parse_cohort("")


@pytest.mark.parametrize("text", ["product", "=x", "a=", "a=b,a=c", "a=b||c", "a b=c", "a=" + "x" * 65])
def test_a_cohort_that_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_cohort(text)
