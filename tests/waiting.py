"""Waiting for a condition with a deadline: the tests' only use of time."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.02


def until(condition: Callable[[], T], deadline_s: float = 15.0) -> T:
    """The first true value of `condition`; fails when the deadline passes."""
    never = threading.Event()
    for _ in range(int(deadline_s / POLL_S)):
        value = condition()
        if value:
            return value
        never.wait(POLL_S)
    raise AssertionError(f"not true within {deadline_s} s: {condition}")
