"""A camera's worker: it hangs, breaks, ends and comes back, and disturbs nobody else."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edge_agent.capture.accounting import Skip
from edge_agent.capture.addresses import parse
from edge_agent.capture.picture import encode_png
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.capture.view import View
from edge_agent.capture.worker import MOST_HANGING
from edge_agent.clock import SystemClock
from edge_agent.records import HoldReason, Region
from tests.capture.watching import DEADLINE_S, Rig, picture
from tests.fakes.camera import BAD, FAULT, HANG, FakeCamera


class Cameras:
    """Makes fake cameras from scripts, one per reader; keeps them for the test, which lets none hang for ever."""

    of_this_test = ()

    def __init__(self, *scripts, **keys):
        self._scripts = list(scripts)
        self._keys = keys
        self._made = []
        self._making = threading.Condition()
        Cameras.of_this_test += (self,)

    def __call__(self, stop):
        with self._making:
            first = not self._made  # the worker asks the first one what it is, and never opens it
            script = self._scripts[0] if first or len(self._scripts) == 1 else self._scripts.pop(0)
            self._made.append(FakeCamera(stop, script, **self._keys))
            self._making.notify_all()
            return self._made[-1]

    def reader(self, number):
        """The camera of reader `number` (0 is the first that is opened)."""
        with self._making:
            assert self._making.wait_for(lambda: len(self._made) > number + 1, DEADLINE_S), "no such reader"
            return self._made[number + 1]

    def release(self):
        with self._making:
            for camera in self._made:
                camera.release()


@pytest.fixture(autouse=True)
def _no_reader_is_left_behind():
    Cameras.of_this_test = ()
    yield
    for cameras in Cameras.of_this_test:
        cameras.release()


def test_frames_are_numbered_timed_and_seen_through_the_view():
    with Rig() as rig:
        view = View(roi=Region(x=0.0, y=0.0, width=0.5, height=1.0))
        rig.start(Cameras([picture(level) for level in (1, 2, 3)], live=False), view=view)
        frames = [rig.frame() for _ in range(3)]

    assert [frame.sequence for frame in frames] == [1, 2, 3]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 3]
    assert all(frame.image.shape == (48, 32, 3) and not frame.image.flags.writeable for frame in frames)
    assert frames[0].captured_mono_s <= frames[1].captured_mono_s <= rig.clock.mono_s()


def test_a_finite_source_ends_and_every_picture_was_judged():
    with Rig() as rig:
        _, watcher = rig.start(Cameras([picture()] * 20, live=False), capacity=1)
        numbers = [rig.frame().sequence for _ in range(20)]
        watcher.wait_state("ended")
        account = rig.queue.accounting("cam")

    assert numbers == list(range(1, 21))
    assert watcher.states() == ["opening", "streaming", "ended", "stopped"]
    assert (account.captured, account.judged, account.in_flight, account.dropped) == (20, 20, 0, {})


def test_a_bad_picture_is_a_hold_with_its_reason_and_the_next_one_comes():
    with Rig() as rig:
        _, watcher = rig.start(Cameras([picture(), BAD, picture()], live=False))
        frames = [rig.frame(), rig.frame()]
        watcher.wait_state("ended")
        account = rig.queue.accounting("cam")

    assert [frame.sequence for frame in frames] == [1, 3]
    ((drop, reason),) = watcher.drops
    assert (drop.sequence, drop.reason, reason) == (2, HoldReason.CAMERA, "fake: cannot be decoded")
    assert account.balanced
    assert (account.captured, account.dropped) == (3, {HoldReason.CAMERA: 1})


def test_a_camera_that_falls_silent_is_stalled_abandoned_and_opened_again():
    cameras = Cameras([picture(1), HANG, picture(99)], [picture(2)])
    with Rig() as rig:
        _, watcher = rig.start(cameras, stall_s=0.2)
        assert rig.frame().image[0, 0, 0] == 1
        begun_s = rig.clock.mono_s()
        stalled = watcher.wait_state("stalled")
        assert rig.clock.mono_s() - begun_s < 1.0
        second = rig.frame()
        first = cameras.reader(0)
        first.release()
        assert first.closed.wait(DEADLINE_S)

        assert stalled.reason.startswith("no picture for 0.2")
        assert (second.sequence, int(second.image[0, 0, 0])) == (2, 2)
        assert watcher.states()[:5] == ["opening", "streaming", "stalled", "opening", "streaming"]
        assert rig.queue.accounting("cam").reconnects == 1
        cameras.release()


def test_the_late_pictures_of_an_abandoned_reader_are_discarded():
    cameras = Cameras([picture(1), HANG], [HANG])
    with Rig() as rig:
        _, watcher = rig.start(cameras, stall_s=0.2, first_frame_s=30.0)
        rig.frame()
        watcher.wait_state("stalled")
        late = cameras.reader(0)
        late._script.insert(0, picture(99))
        late.release()

        assert late.closed.wait(DEADLINE_S)
        assert rig.queue.accounting("cam").captured == 1
        cameras.release()


def test_a_camera_that_never_opens_is_given_up_too_and_hanging_readers_are_bounded():
    cameras = Cameras([], opens=HANG)
    with Rig() as rig:
        _, watcher = rig.start(cameras, "deaf", stall_s=0.05, first_frame_s=0.05)
        for number in range(MOST_HANGING):
            assert cameras.reader(number).hanging.wait(DEADLINE_S)
        watcher._wait(lambda: any("3 reads hang" in status.reason for status in watcher.statuses), "limit")
        alive = [thread for thread in threading.enumerate() if thread.name == "camera-deaf"]
        assert len(alive) == MOST_HANGING
        with pytest.raises(AssertionError, match="no such reader"):
            cameras_wait(cameras, MOST_HANGING, 0.3)
        cameras.reader(0).release()
        cameras.reader(MOST_HANGING)
        cameras.release()


def cameras_wait(cameras, number, seconds):
    with cameras._making:
        assert cameras._making.wait_for(lambda: len(cameras._made) > number + 1, seconds), "no such reader"


def test_a_fault_backs_off_and_opens_again_for_ever():
    cameras = Cameras([picture(), FAULT, picture(), FAULT, picture(), HANG])
    with Rig() as rig:
        _, watcher = rig.start(cameras)
        frames = [rig.frame() for _ in range(3)]

        assert [frame.sequence for frame in frames] == [1, 2, 3]
        waiting = [status for status in watcher.statuses if status.state.value == "waiting"]
        assert [(status.reason, status.failures) for status in waiting] == [
            ("fake: connection lost", n) for n in (1, 2)
        ]
        assert rig.queue.accounting("cam").reconnects == 2
        cameras.release()


def test_a_camera_that_does_not_open_tells_why_and_is_tried_again():
    with Rig() as rig:
        worker, watcher = rig.start(Cameras([], opens=FAULT))
        watcher._wait(lambda: watcher.states().count("waiting") >= 3, "three attempts")

        assert worker.status.failures >= 3
        assert watcher.states()[:4] == ["opening", "waiting", "opening", "waiting"]
        assert "did not open" in watcher.wait_state("waiting").reason


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_breaks_in_a_way_nobody_foresaw_is_replaced():
    class Broken(FakeCamera):
        def read(self):
            raise RuntimeError("a fault in the program")

    made = []

    def make(stop):
        made.append(stop)
        return (Broken if len(made) == 2 else FakeCamera)(stop, [picture(5)])

    with Rig() as rig:
        _, watcher = rig.start(make, stall_s=0.1)

        assert rig.frame().image[0, 0, 0] == 5
        assert watcher.wait_state("stalled").reason == "its reader broke; the log says how"


def test_a_live_stream_that_ends_is_a_fault_not_an_end():
    with Rig() as rig:
        _, watcher = rig.start(Cameras([picture(), "end"]))

        assert watcher.wait_state("waiting").reason == "fake: the stream ended"


def test_one_camera_hangs_and_three_others_go_on():
    good = [Cameras([picture(level)] * 500, pace=threading.Semaphore(0)) for level in range(3)]
    hanging = Cameras([], opens=HANG)
    with Rig() as rig:
        _, watcher = rig.start(hanging, name="broken", first_frame_s=0.2, stall_s=0.2)
        for number, cameras in enumerate(good):
            rig.start(cameras, name=f"good-{number}")
        seen = []
        for _ in range(50):
            for cameras in good:
                cameras._keys["pace"].release()
            seen += [rig.frame().camera for _ in good]
        watcher.wait_state("stalled")

        assert {name: seen.count(name) for name in set(seen)} == {f"good-{number}": 50 for number in range(3)}
        assert all(account.balanced for account in rig.queue.accountings().values())
        for cameras in good:
            cameras._keys["pace"].release(9)
        hanging.release()


def test_overload_drops_the_oldest_and_tells_of_each():
    with Rig() as rig:
        _, watcher = rig.start(Cameras([picture()] * 100))
        drops = watcher.wait_drops(98)

    assert [drop.sequence for drop, _ in drops] == list(range(1, 99))
    assert {drop.reason for drop, _ in drops} == {HoldReason.OVERLOAD}
    assert rig.queue.accounting("cam").balanced


def test_the_fps_limit_skips_live_pictures_without_counting_them_as_captured():
    cameras = Cameras([picture()] * 200)
    with Rig() as rig:
        rig.start(cameras, fps=0.001)
        assert cameras.reader(0).hanging.wait(DEADLINE_S)  # all were read
        account = rig.queue.accounting("cam")
        cameras.release()

    assert account.captured == 2  # the limit lets two pass at once
    assert account.skipped == {Skip.RATE: 198}
    assert account.balanced


def test_the_fps_limit_paces_a_file_and_skips_nothing():
    with Rig() as rig:
        rig.start(Cameras([picture()] * 6, live=False), fps=20.0)
        times = [rig.frame().captured_mono_s for _ in range(6)]

    assert times[-1] - times[0] >= 0.19
    assert rig.queue.accounting("cam").skipped == {}


@pytest.mark.parametrize("script", [[HANG], [picture()] * 50])
def test_stopping_ends_within_a_second_whatever_the_reader_does(script):
    cameras = Cameras(script, live=script == [HANG])
    with Rig() as rig:
        worker, watcher = rig.start(cameras, capacity=1)
        if script == [HANG]:
            assert cameras.reader(0).hanging.wait(DEADLINE_S)
        else:
            watcher.wait_state("streaming")
        begun_s = rig.clock.mono_s()
        worker.stop()

        assert rig.clock.mono_s() - begun_s < 1.5
        assert worker.status.state.value == "stopped"
        captured = rig.queue.accounting("cam").captured
        cameras.release()
        assert cameras.reader(0).closed.wait(DEADLINE_S)
        assert rig.queue.accounting("cam").captured == captured
        assert rig.queue.accounting("cam").balanced


def test_a_camera_started_again_goes_on_with_its_numbers():
    with Rig() as rig:
        first, watcher = rig.start(Cameras([picture()] * 2, live=False))
        rig.frame(), rig.frame()
        watcher.wait_state("ended")
        first.stop()
        rig.start(Cameras([picture()], live=False), view=View(rotation=90))
        frame = rig.frame()

    assert (frame.sequence, frame.image.shape) == (3, (64, 48, 3))


def test_a_folder_with_a_corrupt_picture_runs_through_the_whole_room(tmp_path):
    for number in range(4):
        content = encode_png(np.full((48, 64, 3), 50 * number, np.uint8))
        (tmp_path / f"{number}.png").write_bytes(content[:-25] if number == 2 else content)

    def make(stop):
        return make_source(parse(f"folder:{tmp_path}"), Terms(clock=SystemClock(), stop=stop))

    with Rig() as rig:
        worker, watcher = rig.start(make)
        frames = [rig.frame() for _ in range(3)]
        watcher.wait_state("ended")

    assert [(frame.sequence, frame.path) for frame in frames] == [(n + 1, f"{tmp_path}/{n}.png") for n in (0, 1, 3)]
    assert "2.png" in watcher.drops[0][1]
    assert worker.status.source == f"folder:{tmp_path}"
