"""Which imported pictures are taken for one thing."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.evidence.kin import KIN_BITS, KIN_MEMBERS, Kin

hashes = st.integers(0, 2**64 - 1)
flips = st.sets(st.integers(0, 63), max_size=8)


@given(hashes, flips)
def test_a_picture_joins_another_exactly_when_few_bits_differ_wherever_they_are(likeness, bits):
    other = likeness
    for bit in bits:
        other ^= 1 << bit

    assert (Kin([(likeness, "g")]).group_of(other) == "g") == (len(bits) <= KIN_BITS)


@given(st.lists(hashes, max_size=40), hashes)
def test_the_most_like_is_found_as_by_looking_at_all(known, likeness):
    kin = Kin((one, f"{one}") for one in set(known))
    near = [one for one in known if (one ^ likeness).bit_count() <= KIN_BITS]
    found = kin.group_of(likeness)

    assert (found is None) == (not near)
    assert found is None or (int(found) ^ likeness).bit_count() == min((one ^ likeness).bit_count() for one in near)


def test_where_everything_looks_the_same_groups_stay_small():
    kin, groups = Kin(), []
    for number in range(10 * KIN_MEMBERS):
        group = kin.group_of(7) or f"picture {number}"
        kin.add(7, group)
        groups.append(group)

    assert {groups.count(group) for group in groups} == {KIN_MEMBERS}
