"""Cameras that are missing, unplugged, or give what is no picture: told at once, and the others go on."""

import cv2
import pytest

from tests.fakes.rtsp_server import RtspServer
from tests.gateway.conftest import NO_SENSOR, picture, save
from tests.gateway.witness import Witness, without_gaps
from tests.waiting import until

# Short patience, so that the tests need little of it.
IMPATIENT = {"stall_s": 0.5, "open_timeout_s": 2, "read_timeout_s": 1}


def goes_on(witness, camera, frames=10):
    heard = len(witness.parts(camera))
    until(lambda: len(witness.parts(camera)) > heard + frames)


def test_a_missing_camera_is_an_alarm_and_the_others_go_on(gateway_with, line, witness):
    absent = {"source": "v4l2:/dev/v4l/by-id/usb-Absent_Camera-video-index0", **IMPATIENT}
    unreachable = {"source": "rtsp://127.0.0.1:1/stream1", **IMPATIENT}
    gateway_with({"top": line, "absent": absent, "unreachable": unreachable}).start()

    alarm = until(lambda: witness.alarm("camera-lost.absent"))
    assert alarm["severity"] == "critical"
    assert "usb-Absent_Camera" in alarm["text"]
    until(lambda: witness.alarm("camera-lost.unreachable"))
    goes_on(witness, "top")
    assert {summary["state"] for summary in witness.said("sum/absent")} <= {"stalled"}
    until(lambda: without_gaps(witness.parts("top")))


@pytest.mark.rtsp
def test_an_unplugged_camera_is_a_retained_alarm_and_recovers_when_it_returns(gateway_with, line, broker, witness):
    with RtspServer(fps=15) as server:
        port = server.port
        gateway = gateway_with(
            {"top": line, "net": {"source": server.url, "mode": "trained", **NO_SENSOR, **IMPATIENT}}
        ).start()
        until(lambda: len(witness.parts("net")) > 5)
        server.kill()

        raised = ("alarm/camera-lost.net", "alarm/camera-stalled.net")
        until(lambda: any(witness.latest(tail) for tail in raised))
        with Witness(broker) as late:
            until(lambda: any(late.latest(tail) for tail in raised))
        goes_on(witness, "top")
        seen = max(witness.parts("net"))

    with RtspServer(fps=15, port=port):
        until(lambda: max(witness.parts("net")) > seen + 10, 30)
        until(lambda: not any(witness.latest(tail) for tail in raised))
        cleared = [alarm for tail in raised for alarm in witness.said(tail) if alarm and alarm["state"] == "cleared"]
        assert cleared
        assert gateway.camera("net")["reconnects"] >= 1
    # Numbered through the break, and every frame has its one verdict.
    until(lambda: without_gaps(witness.parts("net")))
    until(lambda: without_gaps(witness.parts("top")))


@pytest.mark.rtsp
def test_a_camera_that_hangs_is_told_as_stalled_and_is_judged_again_when_it_goes_on(gateway_with, line, witness):
    with RtspServer(fps=15) as server:
        gateway_with({"top": line, "net": {"source": server.url, "mode": "trained", **NO_SENSOR, **IMPATIENT}}).start()
        until(lambda: len(witness.parts("net")) > 5)

        server.freeze()
        until(lambda: witness.alarm("camera-stalled.net") or witness.alarm("camera-lost.net"))
        until(lambda: (witness.latest("sum/net") or {}).get("state") == "stalled")
        goes_on(witness, "top")
        server.thaw()

        goes_on(witness, "net")
        until(lambda: not witness.alarm("camera-stalled.net") and not witness.alarm("camera-lost.net"))
    until(lambda: without_gaps(witness.parts("net")))


def test_a_corrupt_picture_among_good_ones_is_a_hold_for_that_part_and_the_next_goes_on(
    gateway_with, ground, broker, witness
):
    folder = ground / "parts"
    for name in ("1.png", "3.png", "5.png"):
        save(folder / name, picture(1))
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes()[:100])
    (folder / "4.jpg").write_bytes(b"no picture at all")
    gateway_with({"top": {"source": f"folder:{folder}", "mode": "trained", "fps": 50}}).start()

    parts = until(lambda: len(witness.parts("top")) == 5 and witness.parts("top"))

    said = [(parts[n]["verdict"], parts[n]["reason"]) for n in range(1, 6)]
    assert said == [("PASS", None), ("HOLD", "camera"), ("PASS", None), ("HOLD", "camera"), ("PASS", None)]
    until(lambda: (witness.latest("sum/top") or {}).get("held_by_reason") == {"camera": 2})
    assert [parts[n]["part"] for n in (1, 3, 5)] == ["1.png", "3.png", "5.png"]


def film(path, codec):
    """Twenty frames; the tiny head was taught still pictures, so only that they are judged matters."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 20, (64, 64))
    for number in range(20):
        writer.write(picture(number, size_px=64))
    writer.release()
    return path.read_bytes()


def test_a_corrupt_video_is_an_alarm_a_truncated_one_ends_with_a_hold_and_the_others_go_on(
    gateway_with, line, ground, witness
):
    whole = film(ground / "whole.avi", "MJPG")
    # The index of an AVI promises the number of frames before they come.
    (ground / "short.avi").write_bytes(whole[: len(whole) // 2])
    (ground / "corrupt.mp4").write_bytes(bytes(len(film(ground / "corrupt.mp4", "mp4v"))))
    films = {
        path.stem: {"source": f"video:{path}", "mode": "trained", "fps": 50, **IMPATIENT}
        for path in (ground / "whole.avi", ground / "short.avi", ground / "corrupt.mp4")
    }
    gateway_with({"top": line, **films}).start()

    until(lambda: len(witness.parts("whole")) == 20)
    assert {part["reason"] for part in witness.parts("whole").values()} <= {None, "unsure"}
    alarm = until(lambda: witness.alarm("camera-lost.corrupt"))
    assert "corrupt.mp4" in alarm["text"]
    last = until(lambda: next((p for p in witness.parts("short").values() if p["reason"] == "camera"), None))
    assert last["verdict"] == "HOLD"
    assert 1 < last["sequence"] < 20
    goes_on(witness, "top")
