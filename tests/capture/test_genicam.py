"""A simulated GigE Vision camera on loopback: found, set up, triggered, disturbed, frozen, killed, exchanged."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.addresses import parse
from edge_agent.capture.controls import AS_IT_IS, Controls
from edge_agent.capture.knock import knock_of
from edge_agent.capture.native.device_time import WINDOW_S, DeviceClock, missing_between
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.clock import SystemClock
from edge_agent.errors import BadPictureError, CameraError
from edge_agent.records import CameraIdentity
from tests.capture.watching import Rig
from tests.fakes import vision_camera
from tests.fakes.vision_camera import VisionCamera

pytestmark = pytest.mark.genicam

# Small pictures fit the socket buffer that any kernel gives: what is lost is then lost on purpose.
SMALL = "genicam:127.0.0.1?width=128&height=96"


def opener(text, *, read_timeout_s=2.0, controls=AS_IT_IS):
    def make(stop):
        terms = Terms(clock=SystemClock(), stop=stop, read_timeout_s=read_timeout_s, controls=controls)
        return make_source(parse(text), terms)

    return make


@pytest.fixture
def play(opened):
    """Opens a source of the address; all are closed at the end."""
    return lambda text, **terms: opened(opener(text, **terms))


@pytest.fixture
def camera():
    with VisionCamera("GV42") as camera:
        yield camera


def outcome(source):
    try:
        source.read()
    except BadPictureError as error:
        return str(error)
    return "picture"


@pytest.mark.parametrize("name", ["127.0.0.1", "GV42", "Aravis-Fake-GV42", ""])
def test_a_camera_is_found_by_address_serial_and_name_or_because_it_is_alone(play, camera, name):
    source = play(f"genicam:{name}?width=128&height=96")

    assert source.identity == CameraIdentity(
        vendor="Aravis", model="Fake", serial="GV42", firmware=source.identity.firmware
    )
    assert source.identity.firmware.startswith("0.8.")
    assert source.read().image.shape == (96, 128, 3)


def test_a_camera_that_is_not_there_is_answered_with_those_that_are(play, camera):
    with pytest.raises(CameraError, match=r"'GV99'; found on this network: .*GV42 127\.0\.0\.1"):
        play("genicam:GV99")
    with pytest.raises(CameraError, match=r"Can't connect to device at address '127\.0\.0\.9'"):
        play("genicam:127.0.0.9")


LONG = pytest.mark.long  # one of each kind runs always, the others with the long suite


@pytest.mark.parametrize(
    "pixel",
    [
        "Mono8",
        "BayerRG8",
        *(pytest.param(name, marks=LONG) for name in ("Mono16", "RGB8", "BayerBG8", "BayerGR8", "BayerGB8")),
    ],
)
def test_each_pixel_format_of_the_camera_becomes_a_picture(play, camera, pixel):
    image = play(f"{SMALL}&pixel={pixel}").read().image

    assert image.shape == (96, 128, 3)
    assert image.dtype == np.uint8
    assert image.std() > 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("pixel=Mono12", "pixel format Mono12: the camera offers BayerBG8, .*usable of these: BayerBG8"),
        ("trigger=Line7", "trigger Line7: the camera has Line0, Software"),
        pytest.param("trigger=software&activation=LevelLow", "activation LevelLow: ", marks=LONG),
        pytest.param("chunk=1", "chunk=1: the camera has no chunk data", marks=LONG),
        pytest.param("features=Zork=1", "the camera has no feature Zork", marks=LONG),
        pytest.param("features=PixelFormat=Zork", "feature PixelFormat=Zork: ", marks=LONG),
        ("width=9999", r"a size of 9999x\d+: the camera makes at most 2048x2048"),
    ],
)
def test_what_the_camera_cannot_do_is_said_and_the_camera_is_free_again(play, camera, options, words):
    with pytest.raises(CameraError, match=words):
        play(f"genicam:127.0.0.1?{options}")
    assert play(SMALL).read() is not None


def test_exposure_and_gain_are_locked_and_what_does_not_hold_is_named(play, camera):
    source = play(SMALL, controls=Controls(exposure_us=5000, gain_raw=2))
    assert source.unheld == ()
    source.close()

    unheld = play(SMALL, controls=Controls(exposure_us=5, gain_db=3, white_balance_k=5000)).unheld
    assert unheld[0].startswith("exposure_us 5: the camera allows 10 to ")
    assert unheld[1].startswith("gain_db 3: the camera has no gain in decibels")
    assert unheld[2].startswith("white_balance_k 5000: no standard feature")


def test_a_locked_exposure_is_in_the_picture(play, camera):
    """The simulated sensor is as bright as its exposure is long."""
    means = []
    for exposure_us in (2000, 8000):
        source = play(SMALL, controls=Controls(exposure_us=exposure_us))
        means.append(np.mean([source.read().image.mean() for _ in range(3)]))
        source.close()

    assert means[1] > 1.5 * means[0]


def test_a_software_trigger_takes_one_exposure_for_each_read(play, camera):
    source = play(f"{SMALL}&trigger=software")
    clock = SystemClock()

    assert source.live is False
    for _ in range(4):
        asked_s = clock.mono_s()
        picture = source.read()
        assert picture.captured_mono_s > asked_s - 0.005
        clock.wait(threading.Event(), 0.1)  # a camera that ran freely would have taken pictures meanwhile


def test_a_camera_that_waits_for_its_line_is_patient_and_stops_at_once(camera):
    stop = threading.Event()
    source = opener(f"{SMALL}&trigger=Line0", read_timeout_s=0.5)(stop)
    source.open()
    clock = SystemClock()
    begun_s = clock.mono_s()
    threading.Timer(1.5, stop.set).start()

    assert source.live is False
    assert source.read() is None
    assert 1.4 < clock.mono_s() - begun_s < 2.5
    source.close()


def test_the_moment_of_a_picture_is_before_it_is_given(play, camera):
    source = play(SMALL)
    clock = SystemClock()
    ages = []
    for _ in range(10):
        picture = source.read()
        ages.append(clock.mono_s() - picture.captured_mono_s)

    assert min(ages) >= 0
    assert sorted(ages)[5] < 0.1


def test_a_second_program_is_told_that_the_camera_is_taken(play, camera):
    play(SMALL)
    with pytest.raises(CameraError, match="another program controls it"):
        play(SMALL)


class TestACameraInTrouble:
    """Each test has a camera of its own."""

    def test_a_picture_that_arrives_incomplete_is_bad_and_the_next_one_comes(self, play):
        with VisionCamera(lost_per_mille=50):
            source = play(SMALL)
            results = set()
            # Packets are lost by chance: both come soon, and in 400 pictures for certain.
            for _ in range(400):
                results.add(outcome(source))
                incomplete = any("a picture arrived incomplete" in result for result in results)
                if incomplete and "picture" in results:
                    break

            assert incomplete
            assert "picture" in results

    def test_a_frozen_camera_is_noticed_and_comes_back(self):
        with VisionCamera() as camera, Rig() as rig:
            _, watcher = rig.start(opener(SMALL, read_timeout_s=0.8))
            rig.frame()
            heard = len(watcher.statuses)
            camera.freeze()
            status = watcher.wait_state("waiting", heard)
            assert "no picture within" in status.reason
            camera.thaw()
            watcher.wait_state("streaming", heard)

    def test_a_camera_that_was_killed_comes_back_as_another_one(self):
        devices = []
        with Rig() as rig:
            with VisionCamera("OLD1"):
                _, watcher = rig.start(opener(SMALL, read_timeout_s=0.8), capacity=64)
                devices.append(rig.frame().device)
                heard = len(watcher.statuses)
            watcher.wait_state("waiting", heard)
            with VisionCamera("NEW2"):
                watcher.wait_state("streaming", heard)
                devices.append(
                    next(device for device in (rig.frame().device for _ in range(64)) if device != devices[0])
                )

        assert [device.serial for device in devices] == ["OLD1", "NEW2"]

    def test_a_camera_that_is_named_by_its_address_is_knocked_at(self):
        knock = knock_of(parse("genicam:127.0.0.1?trigger=Line0"))
        assert "does not answer as a GigE Vision camera" in knock()
        with VisionCamera():
            assert knock() is None
        assert knock_of(parse("genicam:GV01")) is None

    def test_a_triggered_camera_that_vanishes_is_noticed_without_a_trigger(self, play):
        with VisionCamera() as camera:
            source = play(f"{SMALL}&trigger=Line0")
            camera.kill()
            with pytest.raises(CameraError, match=r"not ours|does not answer"):
                source.read()


def test_the_simulated_camera_inside_aravis_needs_no_network(play):
    source = play("genicam:Fake_1?width=64&height=48")

    assert source.identity.serial == "1"
    assert source.read().image.shape == (48, 64, 3)


def test_without_the_simulated_camera_these_tests_fail_and_say_what_to_install(monkeypatch):
    monkeypatch.setattr(vision_camera, "PROGRAM", "/absent/camera")

    with pytest.raises(AssertionError, match="apt-get install aravis-tools"):
        VisionCamera()


# What needs no camera: clocks and numbers.


@given(st.floats(-1e6, 1e9), st.lists(st.floats(0, 0.2), min_size=1, max_size=40))
def test_device_time_is_mapped_by_the_quickest_picture(difference_s, delays_s):
    clock = DeviceClock()
    for number, delay_s in enumerate(delays_s):
        taken_s = number * 0.1
        moment_s = clock.moment_s(taken_s - difference_s, taken_s + delay_s)
        quickest = min(delays_s[: number + 1])

        assert moment_s <= taken_s + delay_s + 1e-6
        assert moment_s == pytest.approx(taken_s + quickest, abs=1e-4)


def test_a_clock_that_drifts_is_followed():
    """100 ppm for an hour is a third of a second; what is left is what drifts within the window."""
    clock = DeviceClock()
    errors = [abs(clock.moment_s(second * (1 - 100e-6), second + 0.001) - second) for second in range(3600)]

    assert max(errors) < 0.001 + WINDOW_S * 100e-6 + 1e-6


@pytest.mark.parametrize(
    ("last", "this", "missing"),
    [(1, 2, 0), (1, 5, 3), (65_535, 1, 0), (65_534, 2, 2), (5, 5, 0), (900_000, 3, 0), (10, 60_000, 0), (0, 1, 0)],
)
def test_left_out_pictures_are_counted_also_where_the_counter_starts_over(last, this, missing):
    assert missing_between(last, this) == missing
