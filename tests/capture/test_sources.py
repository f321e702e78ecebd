"""Every source keeps the same contract; then the faults of each."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.capture.addresses import parse
from edge_agent.capture.picture import encode_jpeg, encode_png
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.capture.sources.folder import POLL_S, SETTLE_S
from edge_agent.capture.sources.v4l2 import connected_cameras
from edge_agent.errors import BadPictureError, CameraError
from tests.fakes.camera import FakeCamera
from tests.fakes.clock import FakeClock

COUNT = 5


def level(number, size=(48, 64)):
    return np.full((*size, 3), 20 * number + 20, np.uint8)


def source_of(text, clock=None, stop=None):
    return make_source(parse(text), Terms(clock=clock or FakeClock(), stop=stop or threading.Event()))


def fill(folder, count=COUNT):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"part-{number}.png").write_bytes(encode_png(level(number)))
    return folder


def film(path, count=COUNT, kind="mp4v"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*kind), 25.0, (64, 48))
    assert writer.isOpened()
    for number in range(count):
        writer.write(level(number % 10))
    writer.release()
    return path


def levels(source):
    """Mean grey of each picture that is left, as the number it was made from."""
    found = []
    while (picture := source.read()) is not None:
        found.append(round((float(picture.image.mean()) - 20) / 20))
    return found


LIVE = {
    "gstreamer": "gstreamer:videotestsrc is-live=true pattern=ball ! video/x-raw,width=64,height=48,framerate=50/1",
    "genicam": "genicam:Fake_1?width=64&height=48",
}


@pytest.fixture(
    params=[
        "folder",
        "video",
        "synthetic",
        "fake",
        pytest.param("gstreamer", marks=pytest.mark.gstreamer),
        pytest.param("genicam", marks=pytest.mark.genicam),
    ]
)
def make(request, tmp_path):
    """Makes a source of at least COUNT pictures on the given stop event."""
    if request.param in LIVE:
        return lambda stop: source_of(LIVE[request.param], stop=stop)
    if request.param == "folder":
        text = f"folder:{fill(tmp_path / 'parts')}"
    elif request.param == "video":
        text = f"video:{film(tmp_path / 'film.mp4')}"
    else:
        text = "synthetic:mixed"
    if request.param == "fake":
        return lambda stop: FakeCamera(stop, [level(number) for number in range(COUNT)], live=False)
    return lambda stop: source_of(text, stop=stop)


class TestEverySource:
    def test_gives_pictures_that_belong_to_the_receiver(self, make):
        source = make(threading.Event())
        source.open()
        pictures = [source.read() for _ in range(COUNT)]

        for picture in pictures:
            assert picture.image.dtype == np.uint8
            assert picture.image.ndim == 3
            assert picture.image.shape[2] == 3
        kept = pictures[0].image.copy()
        pictures[1].image[:] = 0
        np.testing.assert_array_equal(pictures[0].image, kept)
        source.close()

    def test_reads_nothing_before_it_is_open_or_after_it_is_closed(self, make):
        source = make(threading.Event())
        with pytest.raises(CameraError):
            source.read()
        source.open()
        source.read()
        source.close()
        with pytest.raises(CameraError):
            source.read()

    def test_closes_twice_and_unopened(self, make):
        make(threading.Event()).close()
        source = make(threading.Event())
        source.open()
        source.close()
        source.close()

    def test_gives_the_same_pictures_again_when_made_again(self, make):
        runs = []
        for _ in range(2):
            source = make(threading.Event())
            source.open()
            runs.append([source.read().image for _ in range(COUNT)])
            source.close()

        if source.live:  # the world has moved on; its pictures are of the same size
            assert np.shape(runs[0]) == np.shape(runs[1])
        else:
            np.testing.assert_array_equal(runs[0], runs[1])

    def test_knows_whether_it_is_live_and_what_it_is_before_it_is_opened(self, make):
        source = make(threading.Event())

        assert source.live in (True, False)
        assert source.description
        assert source.decoding is None
        assert source.identity is None
        assert source.unheld == ()


@pytest.mark.gstreamer
@pytest.mark.genicam
@pytest.mark.parametrize("kind", LIVE)
def test_a_camera_gives_nothing_more_when_it_was_stopped(kind):
    stop = threading.Event()
    source = source_of(LIVE[kind], stop=stop)
    source.open()
    assert source.live
    assert source.read() is not None
    stop.set()
    assert source.read() is None
    source.close()


def test_a_folder_goes_by_path_through_its_subfolders_and_ends(tmp_path):
    folder = fill(tmp_path / "parts")
    (folder / "a-first").mkdir()
    (folder / "a-first" / "x.JPG").write_bytes(encode_jpeg(level(9)))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(encode_png(level(8)))
    source = source_of(f"folder:{folder}")
    source.open()
    first = source.read()

    assert first.path == str(folder / "a-first" / "x.JPG")
    assert levels(source) == [0, 1, 2, 3, 4]
    assert source.read() is None


def test_a_looping_folder_starts_over_and_sees_new_files(tmp_path):
    folder = fill(tmp_path / "parts", 2)
    source = source_of(f"folder:{folder}?loop=1")
    source.open()
    paths = [Path(source.read().path).name for _ in range(3)]
    (folder / "part-9.png").write_bytes(encode_png(level(9)))
    paths += [Path(source.read().path).name for _ in range(4)]

    assert paths == [f"part-{n}.png" for n in (0, 1, 0, 1, 0, 1, 9)]
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(CameraError, match="all pictures are gone"):
        source.read()


def test_a_corrupt_picture_is_told_and_the_next_one_comes(tmp_path):
    folder = fill(tmp_path / "parts", 3)
    (folder / "part-1.png").write_bytes(encode_png(level(1))[:-30])
    source = source_of(f"folder:{folder}")
    source.open()
    source.read()

    with pytest.raises(BadPictureError, match=r"part-1\.png"):
        source.read()
    assert levels(source) == [2]


def test_an_empty_a_missing_and_an_unreadable_folder_say_so(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name, words in [
        ("empty", "no pictures in it, expected files ending in .bmp"),
        ("absent", "No such file"),
        ("file", "Not a directory"),
    ]:
        with pytest.raises(CameraError, match=words):
            source_of(f"folder:{tmp_path / name}").open()


def test_a_folder_without_rights_says_so(tmp_path):
    folder = fill(tmp_path / "parts")
    folder.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # rights mean nothing to root
    try:
        with pytest.raises(CameraError, match="Permission denied"):
            source_of(f"folder:{folder}").open()
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


class Arrivals:
    """A clock on which files arrive: each wait runs the next action, the last one stops the source."""

    def __init__(self, *actions):
        self.stop = threading.Event()
        self._actions = list(actions)
        self._clock = FakeClock()
        self.waits = []

    def utc_s(self):
        return self._clock.utc_s()

    def mono_s(self):
        return self._clock.mono_s()

    def wait(self, stop, seconds):
        self.waits.append(seconds)
        self._clock.advance(seconds)
        if self._actions:
            self._actions.pop(0)()
        else:
            stop.set()
        return stop.is_set()


def watch(folder, *actions):
    """All pictures and refusals of a watched folder while the actions happen, one per scan."""
    clock = Arrivals(*actions)
    source = source_of(f"folder:{folder}?watch=1", clock, clock.stop)
    source.open()
    seen = []
    while True:
        try:
            picture = source.read()
        except BadPictureError as error:
            seen.append(str(error))
            continue
        if picture is None:
            assert set(clock.waits) == {POLL_S}
            return seen
        seen.append(Path(picture.path).name)


def arrive(path, number, age_s=0):
    def act():
        path.write_bytes(encode_png(level(number)))
        os.utime(path, (1e9 - age_s, 1e9 - age_s))

    return act


def nothing():
    pass


def test_a_watched_folder_gives_each_file_once_in_the_order_of_its_time(tmp_path):
    arrive(tmp_path / "z.png", 1, age_s=9)()
    arrive(tmp_path / "a.png", 2, age_s=5)()

    def two_at_once():
        arrive(tmp_path / "m.png", 3, age_s=2)()
        arrive(tmp_path / "b.png", 4, age_s=3)()

    assert watch(tmp_path, nothing, two_at_once, nothing, nothing) == ["z.png", "a.png", "b.png", "m.png"]


def test_a_file_that_is_still_being_written_is_taken_when_it_is_whole(tmp_path):
    content = encode_jpeg(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    path = tmp_path / "slow.jpg"
    pieces = [lambda end=end: path.write_bytes(content[:end]) for end in range(0, len(content), len(content) // 12)]

    assert watch(tmp_path, *pieces, lambda: path.write_bytes(content), nothing, nothing) == ["slow.jpg"]


def test_a_file_that_stays_corrupt_is_told_once(tmp_path):
    (tmp_path / "bad.png").write_bytes(encode_png(level(1))[:-20])
    seen = watch(tmp_path, *[nothing] * round(SETTLE_S / POLL_S + 6))

    assert len(seen) == 1
    assert "bad.png" in seen[0]


def test_a_file_replaced_by_another_is_another_part(tmp_path):
    path = tmp_path / "latest.png"

    def replace():
        (tmp_path / ".new").write_bytes(encode_png(level(5)))
        (tmp_path / ".new").rename(path)

    assert (
        watch(tmp_path, arrive(path, 1), nothing, replace, path.unlink, arrive(path, 7), nothing) == ["latest.png"] * 3
    )


def test_a_watched_folder_that_was_away_does_not_give_its_files_again(tmp_path):
    folder, away = fill(tmp_path / "parts", 2), tmp_path / "away"
    clock = Arrivals(lambda: folder.rename(away), nothing)
    source = source_of(f"folder:{folder}?watch=1", clock, clock.stop)
    source.open()
    source.read()
    source.read()
    with pytest.raises(CameraError, match="cannot be listed"):
        source.read()
    source.close()
    with pytest.raises(CameraError, match="cannot be listed"):
        source.open()
    away.rename(folder)
    arrive(folder / "new.png", 7)()
    source.open()

    assert Path(source.read().path).name == "new.png"
    assert source.read() is None


def test_a_watched_folder_may_start_empty(tmp_path):
    assert watch(tmp_path, nothing, arrive(tmp_path / "a.png", 1)) == ["a.png"]


def test_a_video_gives_every_frame_and_ends(tmp_path):
    source = source_of(f"video:{film(tmp_path / 'film.mp4', 40)}")
    source.open()

    assert len(levels(source)) == 40
    assert source.read() is None


def test_a_truncated_video_is_never_silently_short(tmp_path):
    path = film(tmp_path / "film.avi", 100, "MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = source_of(f"video:{path}")
    source.open()
    read = 0
    with pytest.raises(BadPictureError, match="of 100 frames; it is truncated"):  # noqa: PT012 - one of these reads
        while source.read() is not None:
            read += 1
    assert 10 < read < 90
    assert source.read() is None


def test_what_is_no_video_says_so(tmp_path):
    path = film(tmp_path / "film.mp4")
    path.write_bytes(path.read_bytes()[:-300])  # an MP4 keeps its index at the end
    with pytest.raises(CameraError, match="damaged or truncated"):
        source_of(f"video:{path}").open()
    with pytest.raises(CameraError, match="No such file"):
        source_of(f"video:{tmp_path / 'absent.mp4'}").open()


# A real V4L2 device cannot be made here (no kernel modules); what can go wrong before one is there can.
def test_a_missing_camera_is_named_with_what_is_connected(tmp_path):
    with pytest.raises(CameraError, match=r"usb-Cam-index0: not there .*connected now: "):
        source_of("v4l2:/dev/v4l/by-id/usb-Cam-index0").open()


def test_a_path_that_is_no_camera_is_refused():
    with pytest.raises(CameraError, match="/dev/shm: is not a device"):
        source_of("v4l2:/dev/shm").open()
    with pytest.raises(CameraError, match="/dev/null: does not open as a camera"):
        source_of("v4l2:/dev/null?width=640&height=480&fourcc=MJPG").open()


def test_connected_cameras_are_listed_by_path_first(tmp_path):
    for name in ("by-id/usb-Cam", "by-path/pci-0"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()

    assert [path.name for path in connected_cameras(tmp_path)] == ["pci-0", "usb-Cam"]


def test_a_synthetic_line_keeps_to_its_kind_and_share(monkeypatch):
    from edge_agent.capture.synthetic import SyntheticLine

    made = []
    original = SyntheticLine.part

    def noted(line, index):
        made.append(original(line, index))
        return made[-1]

    monkeypatch.setattr(SyntheticLine, "part", noted)
    source = source_of("synthetic:cracks?seed=3")
    source.open()
    pictures = [source.read() for _ in range(120)]
    labels = {id(part.image): part.label for part in made}
    given = [labels[id(picture.image)] for picture in pictures]

    assert set(given) == {"ok", "crack"}
    assert 8 <= given.count("crack") <= 30
    assert len({picture.part for picture in pictures}) == 120


def test_plants_and_seeds_look_different():
    first = []
    for text in ("synthetic:mixed", "synthetic:lyon", "synthetic:osaka", "synthetic:mixed?seed=1"):
        source = source_of(text)
        source.open()
        first.append(source.read().image)

    for one in range(4):
        for other in range(one):
            assert (first[one] != first[other]).any()
