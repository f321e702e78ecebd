"""One page for each test, with a dozen pictures, ann who reviews and eve who also adjudicates."""

import pytest

from tests.fakes.clock import FakeClock
from tests.review.plant import fill, running


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def page(tmp_path, clock):
    fill(tmp_path / "evidence")
    with running(tmp_path, clock) as page:
        page.add("ann")
        page.add("eve", "adjudicator")
        yield page


@pytest.fixture
def two_opinions(tmp_path, clock):
    """The same where two people must agree, with bob beside ann."""
    fill(tmp_path / "evidence", people_needed=2)
    with running(tmp_path, clock) as page:
        for name, role in (("ann", "reviewer"), ("bob", "reviewer"), ("eve", "adjudicator")):
            page.add(name, role)
        yield page
