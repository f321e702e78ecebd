"""Sums and shares to try things on: small, from a seed, like the features of a network (many that are alike)."""

import numpy as np

from edge_agent.learn.statistics import Statistics, sums

BASE = "5e" * 32


def codes(count: int, size: int, seed: int, rank: int = 6):
    """int8 codes [count, size] that hang together, and their labels."""
    chance = np.random.default_rng(seed)
    common = chance.normal(size=(count, rank)) @ chance.normal(size=(rank, size)) * 12
    own = chance.normal(size=(count, size)) * 3
    labels = [("ok", "scratch", "dent")[int(number)] for number in chance.integers(0, 3, count)]
    shift = {"ok": 0.0, "scratch": 9.0, "dent": -9.0}
    levels = common + own + np.array([shift[label] for label in labels])[:, None]
    return np.clip(np.rint(levels), -127, 127).astype(np.int8), labels


def statistics(count: int = 60, size: int = 24, seed: int = 7) -> Statistics:
    return sums(*codes(count, size, seed))


def fixed_statistics() -> Statistics:
    """Sums that are the same with every numpy: made of integers, for golden files."""
    part, feature = np.arange(60)[:, None], np.arange(24)[None, :]
    levels = (part * 37 % 41 - 20) * (feature % 5 + 1) // 2 + (
        part * 7919 + feature * 104_729 + part * feature * 31
    ) % 13
    return sums(np.clip(levels, -127, 127).astype(np.int8), [("ok", "scratch", "dent")[n % 3] for n in range(60)])


def fixed_delta():
    """float32 tensors that are the same with every numpy: small fractions of powers of two, most of them near zero."""
    place = np.arange(600)
    levels = (place * 7919 % 613 - 306) ** 3 / 2.0**34
    return {
        "conv.weight": levels.astype(np.float32).reshape(10, 4, 15),
        "head.bias": (levels[:9] * 64).astype(np.float32),
    }


def same(a: Statistics, b: Statistics) -> bool:
    return (
        a.classes == b.classes
        and np.array_equal(a.counts, b.counts)
        and np.array_equal(a.gram, b.gram)
        and np.array_equal(a.cross, b.cross)
    )
