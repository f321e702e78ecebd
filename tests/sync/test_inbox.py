import itertools

import pytest

from edge_agent.errors import BadCommandError
from edge_agent.sync.commands import Command
from edge_agent.sync.inbox import KEPT_ROWS_MIN, TRANSITIONS, WAITING_MAX, Inbox
from tests.fakes.clock import FakeClock


def command(identity="c-1", expires_utc_s=None):
    return Command(id=identity, type="pause", by="anna", args={"camera": "a"}, expires_utc_s=expires_utc_s)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def inbox(tmp_path, clock):
    inbox = Inbox(tmp_path / "inbox.db", clock)
    yield inbox
    inbox.close()


def tell_all(inbox):
    told = inbox.untold()
    for progress in told:
        inbox.told(progress)
    return [(progress.id, progress.state) for progress in told]


def test_a_command_that_comes_twice_waits_once_and_is_answered_twice(inbox):
    assert inbox.accept(command()) is True
    assert tell_all(inbox) == [("c-1", "accepted")]

    assert inbox.accept(command()) is False

    assert [waiting.id for waiting in inbox.waiting()] == ["c-1"]
    assert tell_all(inbox) == [("c-1", "accepted")]


def test_a_command_that_comes_again_after_it_was_done_is_answered_and_not_done_again(inbox):
    inbox.accept(command())
    inbox.advance("c-1", "successful", result={"n": 1})
    tell_all(inbox)

    inbox.accept(command())

    assert inbox.waiting() == []
    assert tell_all(inbox) == [("c-1", "successful")]


@pytest.mark.parametrize(("start", "to"), [*itertools.product(TRANSITIONS, TRANSITIONS)])
def test_every_state_moves_as_the_table_says_or_refuses_and_stays(inbox, start, to):
    inbox.accept(command())
    if start != "accepted":
        inbox.advance("c-1", start)
    tell_all(inbox)

    if to in TRANSITIONS[start]:
        inbox.advance("c-1", to)
        assert tell_all(inbox) == [("c-1", to)]
    else:
        with pytest.raises(BadCommandError):
            inbox.advance("c-1", to)
        assert tell_all(inbox) == []


def test_what_was_being_carried_out_when_the_process_ended_has_failed(inbox):
    inbox.accept(command())
    inbox.advance("c-1", "executing")

    assert inbox.fail_interrupted() == 1
    assert tell_all(inbox) == [("c-1", "failed")]


def test_a_command_that_expires_while_it_waits_is_rejected(inbox, clock):
    inbox.accept(command(expires_utc_s=clock.utc_s() + 10))
    clock.advance(11)

    assert inbox.waiting() == []
    assert tell_all(inbox) == [("c-1", "rejected")]


def test_ids_are_kept_for_a_day_and_then_forgotten_but_for_the_newest(inbox, clock):
    inbox.accept(command("old"))
    inbox.advance("old", "successful")
    tell_all(inbox)
    for number in range(KEPT_ROWS_MIN + 1):
        inbox.accept(command(f"c-{number}"))
        inbox.advance(f"c-{number}", "successful")
    while tell_all(inbox):
        pass
    assert inbox.accept(command("old")) is False
    tell_all(inbox)

    clock.advance(25 * 3600)

    assert inbox.accept(command("c-1000")) is False
    assert inbox.accept(command("old")) is True


def test_a_jump_of_the_clock_does_not_make_us_do_a_command_twice(inbox, clock):
    inbox.accept(command())
    inbox.advance("c-1", "successful")
    tell_all(inbox)

    clock.jump(10 * 24 * 3600)

    assert inbox.accept(command()) is False


def test_when_nobody_carries_them_out_further_commands_are_refused(inbox):
    for number in range(WAITING_MAX):
        inbox.accept(command(f"c-{number}"))

    with pytest.raises(BadCommandError, match="wait already"):
        inbox.accept(command("one-more"))


def test_commands_and_their_states_survive_the_process(tmp_path, clock):
    first = Inbox(tmp_path / "inbox.db", clock)
    first.accept(command())
    first.close()

    second = Inbox(tmp_path / "inbox.db", clock)

    assert second.waiting() == [command()]
    assert tell_all(second) == [("c-1", "accepted")]
    second.close()
