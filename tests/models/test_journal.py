"""The journal of models: what is written stays, whoever else writes, dies or fills the disk meanwhile."""

import json
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import StorageFullError, TransientError
from edge_agent.models.journal import FILE, OLDER, Event, Journal, Step, operator
from edge_agent.storage import append_line

DIGEST, BEFORE = "4f" * 32, "a0" * 32


def step(number=0, **fields):
    given = {
        "event": Event.REFUSED,
        "name": "surface",
        "digest": DIGEST,
        "by": "learn",
        "at_utc_s": 1795512000.0 + number,
    }
    return Step(**given | {"figures": {"number": number}} | fields)


def small(limit_bytes):
    """A journal whose files are short."""
    return lambda root, line: append_line(root / FILE, line, older=root / OLDER, limit_bytes=limit_bytes)


def numbers(journal):
    return [step.figures["number"] for step in journal.read().steps]


# --- a line --------------------------------------------------------------------------------------------------------


@given(
    event=st.sampled_from(Event),
    by=st.text(max_size=50),
    origin=st.none() | st.just(BEFORE),
    at_ms=st.integers(0, 4_000_000_000_000),
    reasons=st.lists(st.text(max_size=200), max_size=5).map(tuple),
    figures=st.dictionaries(
        st.text(max_size=20),
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.text(max_size=20)
        | st.floats(allow_nan=False, allow_infinity=False),
        max_size=5,
    ),
)
def test_a_step_is_read_as_it_was_written_and_its_line_has_one_end(event, by, origin, at_ms, reasons, figures):
    said = step(event=event, by=by, from_digest=origin, at_utc_s=at_ms / 1000, reasons=reasons, figures=figures)

    line = said.to_line()

    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert line.isascii()
    assert Step.from_line(line) == said


def test_what_is_not_finite_and_what_is_endless_is_written_all_the_same():
    said = step(figures={"share": float("nan"), "high": float("inf")}, reasons=("x" * 100_000,) * 100)

    read = Step.from_line(said.to_line())

    assert read.figures == {"share": None, "high": None}
    assert len(said.to_line()) < 30_000


@pytest.mark.parametrize(
    "line",
    [b"", b"null", b"[1]", b'"x"', b"{}", b"\xff\xfe", b"[" * 100_000, json.dumps({"v": 2}).encode()]
    + [
        json.dumps(json.loads(step().to_line()) | wrong).encode()
        for wrong in (
            {"v": 99},
            {"event": "exploded"},
            {"at": "yesterday"},
            {"at": 5},
            {"by": 3},
            {"reasons": "x"},
            {"reasons": 7},
            {"figures": []},
            {"digest": None},
            {"from": 1},
        )
    ],
)
def test_a_line_that_is_none_of_ours_is_no_step(line):
    assert Step.from_line(line) is None


# --- the file ------------------------------------------------------------------------------------------------------


def test_what_was_written_is_read_in_order_by_another_process(tmp_path):
    for number in range(5):
        Journal(tmp_path / "models").write(step(number))

    assert numbers(Journal(tmp_path / "models")) == [0, 1, 2, 3, 4]


def test_nobody_has_written_yet(tmp_path):
    found = Journal(tmp_path / "none").read()

    assert (found.steps, found.damaged) == ((), 0)
    assert not (tmp_path / "none").exists()


def test_a_journal_cut_anywhere_loses_the_cut_line_alone_and_takes_the_next(tmp_path):
    journal = Journal(tmp_path)
    for number in range(3):
        journal.write(step(number))
    whole = (tmp_path / FILE).read_bytes()

    for length in range(len(whole) + 1):
        (tmp_path / FILE).write_bytes(whole[:length])
        kept = whole[:length].count(b"\n")
        assert numbers(journal) == list(range(kept))
        journal.write(step(99))
        assert numbers(journal) == [*range(kept), 99]
        assert journal.read().damaged == 0


def test_a_damaged_line_is_passed_over_and_counted(tmp_path):
    journal = Journal(tmp_path)
    journal.write(step(1))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"\x00\x00\x00\n")
    journal.write(step(2))

    assert numbers(journal) == [1, 2]
    assert journal.read().damaged == 1


def test_two_files_at_most_and_the_newest_steps_in_them(tmp_path):
    line = len(step(100).to_line())
    journal = Journal(tmp_path, append=small(10 * line))

    for number in range(100, 200):
        journal.write(step(number))
        assert {path.name for path in tmp_path.iterdir()} <= {FILE, OLDER}
        assert (tmp_path / FILE).stat().st_size <= 10 * line

    assert numbers(journal) == list(range(180, 200))


WRITER = """
import sys
from pathlib import Path
from tests.models.test_journal import small, step
from edge_agent.models.journal import Journal
first, count, limit = map(int, sys.argv[2:])
journal = Journal(Path(sys.argv[1]), append=small(limit))
for number in range(first, first + count):
    journal.write(step(number))
    print(number, flush=True)
"""


def writer(root, first, count, limit=10**9):
    words = [sys.executable, "-c", WRITER, root, str(first), str(count), str(limit)]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    writers = [writer(tmp_path, 1000 * number, 40) for number in range(3)]
    for one in writers:
        with one:
            one.stdout.read()
        assert one.returncode == 0

    found = numbers(Journal(tmp_path))

    assert sorted(found) == [1000 * number + line for number in range(3) for line in range(40)]
    for number in range(3):
        mine = [line for line in found if line // 1000 == number]
        assert mine == sorted(mine)


def test_threads_that_write_while_files_are_exchanged_leave_whole_lines_and_readers_see_no_gap(tmp_path):
    line = len(step(10_000).to_line())
    journal = Journal(tmp_path, append=small(20 * line))
    turn = iter(range(10_000, 10_200))
    lock, done, seen = threading.Lock(), threading.Event(), []

    def write():
        while True:
            with lock:
                number = next(turn, None)
                if number is None:
                    return
                journal.write(step(number))

    def read():
        while not done.is_set():
            seen.append(numbers(journal))

    writers, reader = [threading.Thread(target=write) for _ in range(3)], threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    reader.join(60)

    assert journal.read().damaged == 0
    for found in [*seen, numbers(journal)]:
        assert not found or found == list(range(found[0], found[-1] + 1))


def test_a_writer_that_is_killed_leaves_all_that_it_was_told_is_there(tmp_path):
    with writer(tmp_path, 0, 100_000) as one:
        said = [int(one.stdout.readline()) for _ in range(30)][-1]
        one.send_signal(signal.SIGKILL)
        rest = one.stdout.read().split()
    said = max([said, *map(int, rest)])

    found = numbers(Journal(tmp_path))

    assert found == list(range(len(found)))
    assert len(found) > said
    Journal(tmp_path).write(step(-1))
    assert numbers(Journal(tmp_path))[-1] == -1


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.models.test_journal import step
from edge_agent.models.journal import Journal
from edge_agent.errors import StorageFullError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    Journal(Path(sys.argv[1])).write(step(2))
except StorageFullError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_disk_that_is_full_is_said_and_leaves_no_part_of_a_line(tmp_path, room):
    """The kernel takes a part of the line and no more, as a disk does that fills up."""
    journal = Journal(tmp_path)
    journal.write(step(1))
    before = (tmp_path / FILE).read_bytes()

    limit = str(len(before) + room)
    said = subprocess.run([sys.executable, "-c", FULL, tmp_path, limit], capture_output=True, text=True, check=True)

    assert "no space left" in said.stdout
    assert (tmp_path / FILE).read_bytes() == before
    journal.write(step(3))
    assert numbers(journal) == [1, 3]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "models").write_bytes(b"a file where the folder should be")

    with pytest.raises(TransientError, match="models"):
        Journal(tmp_path / "models").write(step())


# --- steps that are told of ----------------------------------------------------------------------------------------


def full(_root, _line):
    raise StorageFullError("journal: no space left")


def test_a_step_that_cannot_be_told_is_not_taken(tmp_path):
    taken = []

    with pytest.raises(StorageFullError), Journal(tmp_path, append=full).told(step()):
        taken.append(True)

    assert taken == []


def test_the_way_back_is_taken_though_it_cannot_be_told_and_the_log_has_all_of_it(tmp_path, caplog):
    taken = []

    with Journal(tmp_path, append=full).told(step(by=operator("ana")), must=False):
        taken.append(True)

    assert taken == [True]
    assert "audit=unwritten" in caplog.text
    assert DIGEST in caplog.text
    assert "operator ana" in caplog.text


def test_a_step_that_fails_leaves_a_second_line_that_says_so(tmp_path):
    journal = Journal(tmp_path)

    with pytest.raises(OSError, match="wall"), journal.told(step(event=Event.ACTIVATED)):
        raise OSError("a wall")

    steps = journal.read().steps
    assert [found.event for found in steps] == [Event.ACTIVATED, Event.FAILED]
    assert steps[1].reasons == ("activated: a wall",)
