"""What a camera learned from its good parts, on disk and in the journal of models."""

import numpy as np
import pytest

from edge_agent.errors import StorageFullError
from edge_agent.inspect.goodonly import GoodOnlyState, observe
from edge_agent.models.journal import Event, Journal
from edge_agent.processes.goodonly_files import GoodOnlyFiles
from edge_agent.records import Features
from tests.fakes.clock import FakeClock

ENCODER = "4f" * 32
WANTED = 12


@pytest.fixture
def learned():
    """What twelve parts of noise teach."""
    rng = np.random.default_rng(7)
    state = GoodOnlyState(encoder=ENCODER, wanted=WANTED)
    for _ in range(WANTED):
        places = rng.normal(0, 1, (4, 4, 16)).astype(np.float32)
        state, _ = observe(state, Features(vector=places.mean(axis=(0, 1)), map=places))
    assert state.model is not None
    return state


def test_that_a_camera_has_learned_leaves_a_line_in_the_journal(tmp_path, learned):
    journal = Journal(tmp_path / "models")

    GoodOnlyFiles(tmp_path / "good-only", journal, FakeClock()).save("top", learned)

    (step,) = journal.read().steps
    assert (step.event, step.name, step.digest, step.by) == (Event.LEARNED, "top", ENCODER, "gateway")
    assert step.reasons == ("12 good parts",)
    assert GoodOnlyFiles(tmp_path / "good-only").load("top", ENCODER, WANTED).model is not None


def test_a_disk_without_room_for_the_line_stops_no_part_and_is_said(tmp_path, learned, caplog):
    def full(_root, _line):
        raise StorageFullError("no space left")

    GoodOnlyFiles(tmp_path / "good-only", Journal(tmp_path, append=full), FakeClock()).save("top", learned)

    assert "no space left" in caplog.text
    assert GoodOnlyFiles(tmp_path / "good-only").load("top", ENCODER, WANTED).model is not None
