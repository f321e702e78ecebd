"""An exchanged camera is noticed whenever it was exchanged, and accepted by a person."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import StorageReadOnlyError
from edge_agent.processes.identities import EXCHANGED, UNHELD, Identities, Standing, compare, describe
from edge_agent.records import CameraIdentity
from edge_agent.sync.alarms import AlarmBook

A = CameraIdentity(vendor="Acme", model="Eye 4", serial="A1", firmware="1.0")
B = CameraIdentity(vendor="Acme", model="Eye 4", serial="B2", firmware="1.0")
C = CameraIdentity(vendor="Acme", model="Eye 4", serial="C3", firmware="1.0")
NEWER = CameraIdentity(vendor="Acme", model="Eye 4", serial="A1", firmware="2.0")
NAMELESS = CameraIdentity(vendor="Acme", model="Eye 4")

words = st.none() | st.sampled_from(["", "x", "y"])
identities = st.builds(CameraIdentity, vendor=words, model=words, serial=words, firmware=words)


class Station:
    """Identities on a file, and the alarms they lead to; `start` is the daemon's next run."""

    def __init__(self, folder):
        self.file = folder / "cameras.json"
        self.start()

    def start(self):
        self.book = AlarmBook()
        self.identities = Identities(self.file, lambda condition: self.book.note(condition, 0.0))
        return self

    def see(self, *found):
        for identity in found:
            self.identities.found("top", identity)
        return self.alarm()

    def alarm(self, code=EXCHANGED):
        return next((alarm.text for alarm in self.book.active if alarm.code == code), None)

    def acknowledge(self):
        self.identities.accept("top")
        self.book.acknowledge(EXCHANGED, "top")
        self.identities.look_again("top")


@pytest.fixture
def station(tmp_path):
    return Station(tmp_path)


def test_the_first_camera_is_taken_as_it_comes(station):
    assert station.see(A, A) is None
    assert station.identities.of("top") == A


def test_another_serial_number_is_an_alarm_that_names_both(station):
    told = station.see(A, B)

    assert told == (
        "Acme Eye 4, serial B2, firmware 1.0 answers where Acme Eye 4, serial A1, firmware 1.0 was;"
        " acknowledge this to accept it"
    )


def test_a_camera_that_was_exchanged_while_the_daemon_was_stopped_is_noticed(station):
    station.see(A)

    assert "serial B2" in station.start().see(B)


def test_the_alarm_comes_again_with_each_start_until_it_is_acknowledged(station):
    station.see(A, B)
    assert station.start().see(B) is not None

    station.acknowledge()

    assert station.see(B) is None
    assert station.start().see(B) is None
    assert "serial A1" in station.see(A)


def test_a_new_firmware_is_no_other_camera_and_is_remembered(station):
    assert station.see(A, NEWER) is None
    assert "serial A1, firmware 2.0 was" in station.start().see(B)


def test_a_camera_that_says_nothing_is_no_other_one_and_changes_nothing(station):
    assert station.see(A, None, CameraIdentity(), NAMELESS) is None
    assert "serial A1" in station.see(B)


def test_the_old_camera_put_back_is_still_the_right_one_after_the_alarm(station):
    station.see(A, B, A)
    station.acknowledge()

    assert station.see(A) is None
    assert "serial B2" in station.see(B)


def test_a_third_camera_is_not_accepted_by_the_alarm_that_named_the_second(station):
    station.see(A, B, C)
    station.acknowledge()

    assert "serial C3, firmware 1.0 answers where Acme Eye 4, serial B2" in station.alarm()


def test_nothing_is_accepted_that_cannot_be_kept(station, monkeypatch):
    station.see(A, B)

    def refuse(*_args, **_how):
        raise StorageReadOnlyError("read-only")

    monkeypatch.setattr("edge_agent.processes.identities.replace_file", refuse)
    with pytest.raises(StorageReadOnlyError):
        station.identities.accept("top")
    monkeypatch.undo()

    assert "serial B2" in station.start().see(B)


def test_a_first_camera_is_watched_although_it_cannot_be_kept(station, monkeypatch, caplog):
    def refuse(*_args, **_how):
        raise StorageReadOnlyError("read-only")

    monkeypatch.setattr("edge_agent.processes.identities.replace_file", refuse)

    assert station.see(A) is None
    assert "identities=unsaved" in caplog.text
    assert "serial B2" in station.see(B)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"cameras": {"top": {"serial": 7}}}', b'{"cameras": {"top": {"x": ""}}}']
)
def test_a_damaged_file_is_ignored_and_said(station, caplog, content):
    station.file.write_bytes(content)

    assert station.start().see(B) is None
    assert "identities=ignored" in caplog.text


def test_a_camera_that_says_nothing_now_is_not_shown_as_the_one_before(station):
    station.see(A, None)

    assert station.identities.of("top") is None
    station.acknowledge()
    assert station.see(A) is None


def test_a_description_can_be_printed():
    assert describe(CameraIdentity(vendor="\x1b[31mAcme\n", serial="7")) == "[31mAcme, serial 7"


def test_a_name_that_left_the_configuration_is_free(station):
    station.see(A)
    station.identities.held("top", ("focus 3: the camera has no such control",))
    station.identities.settle({"other"})

    assert station.identities.of("top") is None
    assert station.alarm(UNHELD) is None
    assert station.see(B) is None


def test_locks_that_do_not_hold_are_an_alarm_until_they_do(station):
    station.identities.held("top", ("focus 3: it has 4 instead", "gain_raw 1: the camera has no such control"))
    assert station.alarm(UNHELD) == "focus 3: it has 4 instead; gain_raw 1: the camera has no such control"
    assert len(station.identities.unheld("top")) == 2

    station.identities.held("top", ())
    assert station.alarm(UNHELD) is None


def test_news_is_told_once(station):
    assert [station.identities.take_news() for _ in range(2)] == [False, False]
    station.see(A)
    assert [station.identities.take_news() for _ in range(2)] == [True, False]
    station.see(None, A)
    assert not station.identities.take_news()


@given(identities, identities)
def test_whether_two_are_the_same_does_not_depend_on_who_came_first(one, other):
    if Standing.UNKNOWN not in (compare(None, one), compare(None, other)):
        assert compare(one, other) is compare(other, one)
    assert compare(one, one) in (Standing.SAME, Standing.UNKNOWN)


def test_each_description_is_another_one():
    parts = [(None, "Acme"), (None, "Eye"), (None, "A1"), (None, "1.0")]
    all_of_them = [CameraIdentity(vendor=v, model=m, serial=s, firmware=f) for v, m, s, f in itertools.product(*parts)]

    assert len({describe(identity) for identity in all_of_them}) == len(all_of_them)
