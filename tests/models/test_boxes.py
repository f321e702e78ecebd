"""Suppression: what stays is what a plain loop would keep, whatever the boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_agent.models.boxes import overlaps, suppress

corners = arrays.arrays(np.float32, (4,), elements=st.floats(0, 10, width=16))


@st.composite
def finds(draw):
    count = draw(st.integers(0, 25))
    boxes = np.array([draw(corners) for _ in range(count)], np.float32).reshape(count, 4)
    scores = np.array([draw(st.sampled_from([0.2, 0.5, 0.5, 0.9])) for _ in range(count)], np.float32)
    return boxes, scores, np.array([draw(st.integers(0, 2)) for _ in range(count)], np.int64)


def area(box):
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def too_near(one, other, iou_max):
    wide = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    high = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    return wide * high > iou_max * (area(one) + area(other) - wide * high)


def by_a_plain_loop(boxes, scores, classes, iou_max, most):
    kept = []
    for index in sorted(range(len(scores)), key=lambda index: -scores[index])[:most]:
        rivals = (other for other in kept if classes[other] == classes[index])
        if not any(too_near(boxes[other], boxes[index], iou_max) for other in rivals):
            kept.append(index)
    return kept


@given(finds(), st.sampled_from([0.0, 0.33, 0.5, 1.0]), st.sampled_from([0, 1, 7, 1000]))
def test_it_keeps_what_a_plain_loop_keeps_in_the_order_of_the_scores(found, iou_max, most):
    kept = suppress(*found, iou_max, most)

    assert kept.tolist() == by_a_plain_loop(*(array.tolist() for array in found), iou_max, most)


@given(finds())
def test_suppressing_twice_is_as_good_as_once(found):
    kept = suppress(*found, 0.5)

    again = suppress(*(array[kept] for array in found), 0.5)

    assert again.tolist() == list(range(len(kept)))


def test_boxes_of_two_classes_never_suppress_one_another():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4]], np.float32)

    assert suppress(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 1]), 0.5).tolist() == [0, 1]


@given(arrays.arrays(np.float32, (5, 4), elements=st.floats(0, 10, width=16)))
def test_overlap_is_symmetric_lies_between_0_and_1_and_is_1_with_itself(boxes):
    table = overlaps(boxes, boxes)

    np.testing.assert_array_equal(table, table.T)
    assert table.min() >= 0
    assert table.max() <= 1 + 1e-6
    full = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    assert table.diagonal()[full] == pytest.approx(1.0)
    assert (table.diagonal()[~full] == 0).all()
