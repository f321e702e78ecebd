"""A camera that goes black, freezes or moves under a running gateway: HOLD with the reason, an alarm, and an end of both."""

import cv2
import numpy as np
import pytest

from tests.fakes.mjpeg_camera import MjpegCamera
from tests.gateway.conftest import save
from tests.waiting import until

LEARN = 10


def shot(seed, *, light=1.0, holder_px=4):
    """uint8 [64, 64, 3]: a holder at the left edge that stays, a part with a grain of its own, sensor noise."""
    rng = np.random.default_rng(seed)
    part = cv2.GaussianBlur(rng.standard_normal((64, 64)).astype(np.float32), (0, 0), 0.8) * 25 + 105
    for top in (8, 28, 48):
        part[top : top + 8, holder_px : holder_px + 12] = 200
    return cv2.merge([np.clip(part * light + rng.normal(0, 2, part.shape), 0, 255).astype(np.uint8)] * 3)


class Line:
    """A watched folder into which a camera drops its pictures, and what the broker heard of them."""

    def __init__(self, folder, witness):
        self._folder = folder
        self._witness = witness
        self._dropped = 0
        folder.mkdir()

    def see(self, *pictures):
        """Verdict and reason of each picture, once all of them were told."""
        names = []
        for picture in pictures:
            self._dropped += 1
            names.append(f"{self._dropped:04}.png")
            save(self._folder / names[-1], picture)
        told = until(lambda: (parts := self._parts()) and all(name in parts for name in names) and parts)
        return [(told[name]["verdict"], told[name]["reason"]) for name in names]

    def _parts(self):
        return {part["part"]: part for part in self._witness.said("insp/top")}


@pytest.fixture
def line(ground, witness):
    return Line(ground / "parts", witness)


@pytest.fixture
def gateway(gateway_with, ground, line):
    camera = {"source": f"folder:{ground / 'parts'}?watch=1", "mode": "trained", "fps": 200, "health_frames": LEARN}
    return gateway_with({"top": camera}).start()


def reasons(seen):
    return [reason for _, reason in seen if reason not in (None, "unsure")]


def test_black_frozen_and_moved_pictures_are_held_with_the_reason_and_an_alarm_until_they_are_sound(
    gateway, line, witness
):
    assert reasons(line.see(*(shot(seed) for seed in range(LEARN + 5)))) == []
    until(lambda: (witness.latest("sum/top") or {}).get("picture") == "healthy")
    identity = "picture-unhealthy.top"

    assert line.see(*(shot(seed, light=0.0) for seed in range(100, 103))) == [("HOLD", "dark")] * 3
    alarm = until(lambda: witness.alarm(identity))
    assert (alarm["state"], alarm["severity"]) == ("active", "critical")
    assert alarm["text"].startswith("dark: nothing is brighter than grey")
    until(lambda: (witness.latest("sum/top") or {}).get("picture") == "dark")

    assert reasons(line.see(*(shot(seed) for seed in range(200, 210)))) == ["dark"] * 2
    until(lambda: witness.alarm(identity) is None)

    assert reasons(line.see(*[shot(300)] * 6)) == ["frozen"] * 5
    assert until(lambda: witness.alarm(identity))["text"].startswith("frozen: ")
    assert reasons(line.see(shot(301))) == []
    until(lambda: witness.alarm(identity) is None)

    moved = line.see(*(shot(seed, holder_px=12) for seed in range(400, 410)))
    assert moved[-1] == ("HOLD", "moved")
    until(lambda: witness.alarm(identity))

    # It was moved on purpose: learn again, also over a restart.
    witness.command("camera", "relearn-1", camera="top", action="relearn")
    until(lambda: witness.acks("camera", "relearn-1")[-1:] == ["successful"])
    assert reasons(line.see(*(shot(seed, holder_px=12) for seed in range(500, 500 + LEARN)))) == []
    until(lambda: gateway.camera("top")["picture"] == "healthy" and witness.alarm(identity) is None)

    gateway.stop()
    gateway.start()
    until(lambda: gateway.camera("top")["picture"] == "healthy")  # known before the first picture
    assert line.see(*(shot(seed) for seed in range(600, 610)))[-1] == ("HOLD", "moved")
    # The snapshot is written once a second.
    until(lambda: gateway.report("status")["inspect"]["cameras"]["top"]["picture"] == "moved")


def test_a_stream_that_is_a_film_in_a_loop_is_noticed(gateway_with, witness):
    with MjpegCamera(fps=50, size=(64, 64)) as camera:
        address = camera.url("stream")
        gateway = gateway_with(
            {"top": {"source": address, "mode": "trained", "fps": 50, "health": ["frozen", "repeated"]}}
        )
        gateway.start()
        # The tests' camera shows twenty greys in turn, without noise: what somebody does who replays a recording.
        until(lambda: witness.last("top").get("reason") == "repeated")
        until(lambda: (witness.alarm("picture-unhealthy.top") or {}).get("state") == "active")
    assert "repeated" in gateway.log


def test_an_order_to_relearn_is_refused_where_nothing_is_checked(gateway_with, witness):
    gateway_with({"top": {"source": "synthetic:good", "mode": "trained"}}).start()

    witness.command("camera", "relearn-2", camera="top", action="relearn")
    ack = until(lambda: [one for one in witness.said("ack/camera/relearn-2") if one["state"] == "rejected"])[0]

    assert "no picture checks" in ack["reason"]
