"""Which samples belong together, and who decides what is set aside: a hash, once."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.evidence.grouping import SealRules, group_of, group_of_import, is_sealed
from tests.evidence.samples import NOW_UTC_S, inspection


def test_a_part_is_one_group_at_every_camera_and_time():
    one = inspection(part="A12", camera="top")
    other = inspection(part="A12", camera="side", captured_utc_s=NOW_UTC_S + 1e6)

    assert group_of(one, SealRules()) == group_of(other, SealRules()) == "part:A12"


def test_without_a_part_a_camera_s_block_of_time_is_a_group():
    rules = SealRules(block_s=600)
    start = NOW_UTC_S // 600 * 600
    groups = [group_of(inspection(captured_utc_s=start + after), rules) for after in (0, 599.9, 600)]

    assert groups[0] == groups[1] != groups[2]
    assert group_of(inspection(camera="side", captured_utc_s=start), rules) != groups[0]


def test_an_imported_picture_is_of_its_batch_and_else_by_itself():
    assert group_of_import("lyon", "7", "aa") == group_of_import("lyon", "7", "bb")
    assert group_of_import("lyon", "7", "aa") != group_of_import("metz", "7", "aa")
    assert group_of_import(None, None, "aa") != group_of_import(None, None, "bb")


@given(st.text(max_size=40), st.text(max_size=20))
def test_a_larger_share_seals_more_and_releases_nothing(group, seed):
    sealed = [is_sealed(group, SealRules(seed=seed, share=share / 20)) for share in range(21)]

    assert sealed == sorted(sealed)
    assert not sealed[0]
    assert sealed[-1]


def test_the_share_is_kept_and_another_site_seals_other_groups():
    groups = [f"part:{number}" for number in range(4000)]
    lyon = {group for group in groups if is_sealed(group, SealRules(seed="lyon", share=0.2))}
    metz = {group for group in groups if is_sealed(group, SealRules(seed="metz", share=0.2))}

    assert 0.18 < len(lyon) / len(groups) < 0.22
    assert len(lyon & metz) < len(lyon) / 3
