"""A lamp that slowly fails under a running gateway: an alarm that says light, by how much, and an end of it."""

import json

import pytest

from tests.gateway.conftest import save
from tests.gateway.test_picture_health import shot
from tests.waiting import until

LEARN, FRAMES = 10, 250
ALARM = "drift-light.top"


class Line:
    """A watched folder into which a camera drops its pictures."""

    def __init__(self, folder, witness):
        self._folder = folder
        self._witness = witness
        self.dropped = 0
        folder.mkdir()

    def see(self, lights):
        """A part for each of these lights; returns the verdict of the last once it was told."""
        for light in lights:
            self.dropped += 1
            save(self._folder / f"{self.dropped:05}.bmp", shot(self.dropped, light=light))
        last = f"{self.dropped:05}.bmp"
        return until(lambda: self._verdict(last), 60)

    def clear(self):
        for path in self._folder.iterdir():
            path.unlink()

    def _verdict(self, part):
        told = self._witness.last("top")
        return told.get("part") == part and told["verdict"]


@pytest.fixture
def line(ground, witness):
    return Line(ground / "parts", witness)


def test_a_lamp_that_fades_is_an_alarm_with_its_numbers_over_a_restart_until_it_is_learned_anew(
    gateway_with, ground, line, witness
):
    camera = {
        "source": f"folder:{ground / 'parts'}?watch=1",
        "mode": "trained",
        "fps": 1000,
        "health_frames": LEARN,
        "drift": {"frames": FRAMES},
    }
    gateway = gateway_with({"top": camera}).start()
    line.see([1.0] * (LEARN + FRAMES + 5))
    until(lambda: gateway.camera("top")["drift"] == "steady")

    # By one per cent in a hundred pictures, as the bench has it, would take long here.
    held = line.see([1.0 - 0.25 * number / 200 for number in range(200)])

    alarm = until(lambda: witness.alarm(ALARM))
    assert (alarm["state"], alarm["severity"]) == ("active", "warning")
    assert "brightness" in alarm["text"]
    assert " -> " in alarm["text"]
    assert held in ("PASS", "FAIL", "HOLD")
    assert witness.last("top")["reason"] in (None, "unsure")
    until(lambda: gateway.camera("top")["drift"] == "light")
    until(lambda: (witness.latest("sum/top") or {}).get("drift") == "light")
    assert gateway.camera("top")["drift_signs"]["light"] > 0.5

    gateway.stop()
    assert json.loads((gateway.state / "drift" / "top.json").read_text())["finding"][0] == "light"
    line.clear()  # what is in the folder at the start would be judged again
    gateway.start()
    until(lambda: gateway.camera("top")["drift"] == "light")
    assert witness.alarm(ALARM)["state"] == "active"

    # Another lamp on purpose.
    witness.command("camera", "relearn-1", camera="top", action="relearn")
    until(lambda: witness.acks("camera", "relearn-1")[-1:] == ["successful"])
    until(lambda: witness.alarm(ALARM) is None)
    line.see([0.75] * (LEARN + FRAMES + 5))
    until(lambda: gateway.camera("top")["drift"] == "steady")
    line.see([0.75] * 150)
    assert witness.alarm(ALARM) is None
    assert not [code for code in ("focus", "moved", "product", "model") if witness.alarm(f"drift-{code}.top")]
