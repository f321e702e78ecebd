"""Killed at any statement, commit or file, the coordinator resumes and ends at the same bytes, counting each once."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import storage
from edge_agent.coordinator.ledger import NAME
from tests.coordinator.crashes import Killed, Steps, play
from tests.coordinator.scene import GATEWAYS

KINDS = [("heads", "statistics"), ("steps", "delta"), ("robust", "delta")]
ROOT = Path(__file__).parents[2]


def counted_twice(root, task):
    connection = storage.open_database(root / NAME, (), read_only=True)
    try:
        rows = connection.execute(
            "SELECT counted_in, count(*), count(DISTINCT gateway) FROM contribution WHERE task = ? "
            "AND state = 'counted' GROUP BY counted_in",
            (task,),
        ).fetchall()
    finally:
        connection.close()
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(("task", "kind"), KINDS)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.long)])
def test_killed_at_any_step_it_ends_at_the_same_bytes(tmp_path, monkeypatch, task, kind, after, every):
    whole = Steps()
    expected = play(tmp_path / "whole", task, kind, whole, monkeypatch)
    assert whole.count > 100
    # The default run takes every eleventh step, begun at another one for each case; the long run takes them all.
    for last in range(1 + (2 * KINDS.index((task, kind)) + after) % every, whole.count, every):
        root = tmp_path / str(last)
        with pytest.raises(Killed):
            play(root, task, kind, Steps(last, after=after), monkeypatch)
        assert play(root, task, kind, Steps(), monkeypatch) == expected, f"killed at step {last}"
        assert counted_twice(root, task) == [(1, len(GATEWAYS), len(GATEWAYS)), (2, len(GATEWAYS), len(GATEWAYS))]


def test_killed_again_and_again_it_still_gets_there(tmp_path, monkeypatch):
    expected = play(tmp_path / "whole", "steps", "delta", Steps(), monkeypatch)
    deaths = 0
    while True:
        try:
            found = play(tmp_path / "often", "steps", "delta", Steps(120), monkeypatch)
            break
        except Killed:
            deaths += 1
            assert deaths < 100
    assert deaths > 1
    assert found == expected


@pytest.mark.parametrize("statement", [30, 77, 140])
def test_a_process_that_is_really_killed_resumes_too(tmp_path, statement):
    command = [sys.executable, "-m", "tests.coordinator.crashes", str(tmp_path / "killed"), "steps", "delta"]
    died = subprocess.run([*command, str(statement)], cwd=ROOT, check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    whole = play(tmp_path / "whole", "steps", "delta", Steps())
    assert play(tmp_path / "killed", "steps", "delta", Steps()) == whole
