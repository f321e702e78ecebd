"""Which camera took a picture is in every inspection, and another camera at the same place is noticed."""

import pytest

from tests.fakes.gateway import Secret
from tests.fakes.mjpeg_camera import MjpegCamera
from tests.fakes.onvif_camera import OnvifCamera
from tests.fakes.vision_camera import VisionCamera
from tests.gateway.witness import without_gaps
from tests.waiting import until

PASSWORD = "s3:c/r@t"  # noqa: S105 - of a camera that lives for a second


def test_an_exchanged_camera_is_an_alarm_until_a_person_accepts_it(gateway_with, witness):
    login = ("op", PASSWORD)
    with MjpegCamera(fps=20, login=login) as stream, OnvifCamera(serial="A1", login=login) as onvif:
        net = {
            "source": stream.url(),
            "username": "op",
            "password": Secret("net"),
            "onvif": onvif.url,
            "mode": "trained",
        }
        gateway = gateway_with({"net": net})
        (gateway.folder / "secrets.yaml").write_text(f"net: {PASSWORD!r}\n")
        (gateway.folder / "secrets.yaml").chmod(0o600)
        gateway.start()

        def serial():
            return (witness.last("net").get("device") or {}).get("serial")

        def informed():
            return ((witness.latest("info") or {}).get("cameras") or [{}])[0].get("device")

        until(lambda: serial() == "A1")
        told = {"vendor": "Acme", "model": "Eye 4", "serial": "A1", "firmware": "1.3.0"}
        until(lambda: informed() == told)
        until(lambda: gateway.camera("net")["device"] == told)
        assert witness.alarm("camera-exchanged.net") is None

        onvif.exchange("B2")
        stream.cut()
        alarm = until(lambda: witness.alarm("camera-exchanged.net"))
        assert alarm["severity"] == "warning"
        assert "serial B2" in alarm["text"]
        assert "serial A1" in alarm["text"]
        until(lambda: serial() == "B2")
        until(lambda: without_gaps(witness.parts("net")))

        witness.command("alarm-ack", "seen-1", code="camera-exchanged", subject="net")
        until(lambda: witness.acks("alarm-ack", "seen-1")[-1:] == ["successful"])
        until(lambda: witness.alarm("camera-exchanged.net") is None)
        until(lambda: "net: Acme Eye 4, serial B2, firmware 1.3.0" in gateway.cli("status", "--once").stdout)

        gateway.stop()
        onvif.exchange("C3")
        gateway.start()
        alarm = until(lambda: witness.alarm("camera-exchanged.net"))
        assert "serial C3" in alarm["text"]
        assert "serial B2" in alarm["text"]
        assert PASSWORD not in gateway.log


@pytest.mark.genicam
def test_a_genicam_camera_is_known_by_its_serial_number_and_a_lock_that_does_not_hold_is_told(gateway_with, witness):
    eye = {
        "source": "genicam:127.0.0.1?width=128&height=96",
        "controls": {"exposure_us": 10_000, "gain_db": 59},
        "mode": "trained",
    }

    def serial():
        return (witness.last("eye").get("device") or {}).get("serial")

    with VisionCamera("GV01"):
        gateway = gateway_with({"eye": eye}).start()
        until(lambda: serial() == "GV01", 30)
        alarm = until(lambda: witness.alarm("camera-controls.eye"))
        assert alarm["severity"] == "warning"
        assert alarm["text"].startswith("gain_db 59: ")
        assert "exposure" not in alarm["text"]
        # The snapshot that `check` reads is written once a second.
        until(lambda: gateway.camera("eye")["unheld"])
        assert "not locked: gain_db 59: " in gateway.cli("check", "--dont-run", "broker").stdout
        heard = len(witness.parts("eye"))
        until(lambda: len(witness.parts("eye")) > heard)

    with VisionCamera("GV02"):
        alarm = until(lambda: witness.alarm("camera-exchanged.eye"), 30)
        assert "serial GV02" in alarm["text"]
        assert "serial GV01" in alarm["text"]
        until(lambda: serial() == "GV02")
