"""Locks of exposure, gain, white balance and focus: what is set, and what is said when one does not hold."""

from __future__ import annotations

import threading

import cv2
import pytest

from edge_agent.capture.addresses import parse
from edge_agent.capture.controls import Controls
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.capture.v4l2_locks import LOCKS, lock
from edge_agent.clock import SystemClock
from edge_agent.config.controls import LOCKABLE, ControlKeys
from edge_agent.errors import CameraError

AUTO_EXPOSURE, AUTO_WHITE, AUTO_FOCUS = (cv2.CAP_PROP_AUTO_EXPOSURE, cv2.CAP_PROP_AUTO_WB, cv2.CAP_PROP_AUTOFOCUS)


class Device:
    """A V4L2 camera as OpenCV shows it: controls with a range and a step; a manual value is refused under automatic."""

    def __init__(self, absent=(), stuck=(), most=None):
        self.values = {
            AUTO_EXPOSURE: 3,
            cv2.CAP_PROP_EXPOSURE: 156,
            cv2.CAP_PROP_GAIN: 0,
            AUTO_WHITE: 1,
            cv2.CAP_PROP_WB_TEMPERATURE: 4000,
            AUTO_FOCUS: 1,
            cv2.CAP_PROP_FOCUS: 0,
        }
        for number in absent:
            del self.values[number]
        self.stuck, self.most = stuck, most or {}

    def set(self, number, value):
        if number not in self.values or number in self.stuck or self.is_automatic(number):
            return False
        self.values[number] = min(int(value), self.most.get(number, 65535))
        return True

    def get(self, number):
        return self.values.get(number, -1)

    def is_automatic(self, number):
        switches = {
            cv2.CAP_PROP_EXPOSURE: (AUTO_EXPOSURE, 1),
            cv2.CAP_PROP_WB_TEMPERATURE: (AUTO_WHITE, 0),
            cv2.CAP_PROP_FOCUS: (AUTO_FOCUS, 0),
        }
        switch, off = switches.get(number, (None, None))
        return switch in self.values and self.values[switch] != off


ALL = Controls(exposure_us=2000, gain_raw=7, white_balance_k=5200, focus=30)


def test_every_lock_ends_the_automatic_first_and_holds():
    device = Device()

    assert lock(device, ALL) == ()
    assert device.values == {
        AUTO_EXPOSURE: 1,  # V4L2_EXPOSURE_MANUAL
        cv2.CAP_PROP_EXPOSURE: 20,  # x 100 us
        cv2.CAP_PROP_GAIN: 7,
        AUTO_WHITE: 0,
        cv2.CAP_PROP_WB_TEMPERATURE: 5200,
        AUTO_FOCUS: 0,
        cv2.CAP_PROP_FOCUS: 30,
    }


def test_what_is_not_asked_for_is_left_alone():
    device = Device()
    before = dict(device.values)

    assert lock(device, Controls()) == ()
    assert device.values == before
    lock(device, Controls(white_balance_k=5000))
    assert device.values[AUTO_EXPOSURE] == 3
    assert device.values[AUTO_FOCUS] == 1


def test_a_camera_without_the_automatic_may_still_hold_the_value():
    assert lock(Device(absent=(AUTO_FOCUS,)), Controls(focus=30)) == ()


@pytest.mark.parametrize(
    ("device", "asked", "told"),
    [
        (
            Device(absent=(cv2.CAP_PROP_FOCUS, AUTO_FOCUS)),
            Controls(focus=30),
            "focus 30: the camera has no such control",
        ),
        (
            Device(most={cv2.CAP_PROP_EXPOSURE: 15}),
            Controls(exposure_us=2000),
            "exposure_us 2000: it has 1500 instead",
        ),
        (Device(stuck=(AUTO_EXPOSURE,)), Controls(exposure_us=2000), "exposure_us 2000: it has 15600 instead"),
        (Device(stuck=(AUTO_EXPOSURE,)), Controls(gain_raw=7), "gain_raw 7: its automatic cannot be switched off"),
        (Device(), Controls(exposure_us=30), "exposure_us 30: it has 100 instead"),
    ],
)
def test_a_lock_that_does_not_hold_is_named_with_what_the_camera_has(device, asked, told):
    assert lock(device, asked) == (told,)


class Opened(Device):
    """The same as an open capture."""

    opened = True

    def __init__(self, *_how):
        super().__init__(absent=(cv2.CAP_PROP_FOCUS, AUTO_FOCUS))

    def read(self):
        return None

    def release(self):
        pass


def test_a_v4l2_camera_is_locked_at_each_open_and_runs_although_a_lock_does_not_hold(monkeypatch):
    monkeypatch.setattr("edge_agent.capture.sources.v4l2.Capture", Opened)
    terms = Terms(clock=SystemClock(), stop=threading.Event(), controls=Controls(exposure_us=2000, focus=30))
    source = make_source(parse("v4l2:/dev/null"), terms)
    for _ in range(2):
        source.open()
        assert source.unheld == ("focus 30: the camera has no such control",)
        assert source.identity is None
        with pytest.raises(CameraError, match="unplugged"):
            source.read()
        source.close()


def test_the_configuration_the_record_and_the_locks_know_the_same_controls():
    assert set(ControlKeys.model_fields) == set(Controls.__slots__)
    assert set(LOCKABLE["v4l2"]) == set(LOCKS)
