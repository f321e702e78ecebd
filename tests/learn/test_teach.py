"""From a book to a head: with the sums of a fleet beside it, which weigh as much as the held-back parts ask for."""

import numpy as np
import pytest

from edge_agent.errors import RefusedError
from edge_agent.learn.book import Entry, new_book, put
from edge_agent.learn.feature_code import FeatureCode, encode
from edge_agent.learn.head import logits
from edge_agent.learn.statistics import sums
from edge_agent.learn.teach import teach
from edge_agent.learn.unknown import strangeness

DIMENSION = 6
CODE = FeatureCode(offset=np.zeros(DIMENSION, np.float32), step=np.full(DIMENSION, 0.1, np.float32))
CENTRES = np.random.default_rng(3).standard_normal((3, DIMENSION)) * 2
CLASSES = ("ok", "pit", "burr")


def vectors(seed, count, numbers):
    rng = np.random.default_rng(seed)
    truth = rng.choice(numbers, count)
    return (rng.standard_normal((count, DIMENSION)) + CENTRES[truth]).astype(np.float32), [CLASSES[n] for n in truth]


def book(seed, count, numbers):
    rows, labels = vectors(seed, count, numbers)
    entries = [Entry(sample=f"{seed}-{n:04}", label=label, source="page", block="d") for n, label in enumerate(labels)]
    return put(new_book("coder", DIMENSION), entries, encode(CODE, rows)[:, None])


def groups(of):
    return {entry.sample: f"part:{entry.sample}" for entry in of.entries}


def right(head, numbers, seed=9):
    rows, labels = vectors(seed, 300, numbers)
    return np.mean(np.array(head.classes)[logits(head, rows).argmax(axis=1)] == np.array(labels))


def fleet(numbers, count=1500):
    rows, labels = vectors(1, count, numbers)
    return sums(encode(CODE, rows), labels)


def test_without_a_fleet_there_is_no_weight_and_a_fifth_is_held_back():
    own = book(2, 200, (0, 1))

    taught = teach(own, groups(own), CODE, ["ok"])

    assert taught.alpha is None
    assert 10 <= taught.held <= 80
    assert right(taught.head, (0, 1)) > 0.85


def test_a_plant_with_few_labels_judges_as_well_as_its_fleet():
    own = book(2, 60, (0, 1))

    taught = teach(own, groups(own), CODE, ["ok"], fleet((0, 1, 2)))

    assert taught.alpha is not None
    assert set(taught.head.classes) == set(CLASSES)
    assert right(taught.head, (0, 1, 2)) > 0.85  # also the class that this plant has never had


def test_a_class_that_the_fleet_has_never_seen_is_the_plant_s_to_teach():
    own = book(2, 150, (0, 1, 2))

    taught = teach(own, groups(own), CODE, ["ok"], fleet((0, 1)))

    assert taught.alpha >= 1
    assert right(taught.head, (2,)) > 0.8


def test_beside_a_fleet_the_first_labels_may_all_be_of_one_class():
    own = book(2, 20, (0,))
    with pytest.raises(RefusedError, match="second one"):
        teach(own, groups(own), CODE, ["ok"])

    taught = teach(own, groups(own), CODE, ["ok"], fleet((0, 1)))

    assert right(taught.head, (0, 1)) > 0.85


def test_what_is_unlike_anything_is_known_only_where_parts_were_held_back():
    few, many = book(2, 20, (0, 1)), book(3, 300, (0, 1))

    assert teach(few, groups(few), CODE, ["ok"]).familiar is None
    familiar = teach(many, groups(many), CODE, ["ok"]).familiar
    known, _ = vectors(9, 300, (0, 1))
    assert np.mean(strangeness(familiar, known) >= familiar.limit) < 0.1
