"""Which camera a video device is, as sysfs says (Linux: Documentation/ABI/stable/sysfs-bus-usb, and
Documentation/driver-api/usb for the string descriptors).

    class/video4linux/video0/device -> the interface 1-2:1.0, below the USB device 1-2 with product, serial, ...
"""

from __future__ import annotations

from pathlib import Path

from edge_agent.records import CameraIdentity

_MOST_TEXT_BYTES = 256  # a USB string descriptor has 126 characters at most


def identity_of(node: str, sysfs: Path = Path("/sys")) -> CameraIdentity | None:
    """The identity of video device `node` ("video0"); None where sysfs knows nothing of it.

    Cheap cameras have no serial number, or all of one model the same: those cannot be told apart.
    """
    device = (sysfs / "class/video4linux" / node / "device").resolve()
    for folder in (device, *device.parents):
        if not folder.is_relative_to(sysfs.resolve()):
            break
        product_id = _text(folder / "idProduct")
        if product_id is not None:
            version = _text(folder / "bcdDevice")
            return CameraIdentity(
                vendor=_text(folder / "manufacturer") or _text(folder / "idVendor"),
                model=_text(folder / "product") or product_id,
                serial=_text(folder / "serial"),
                firmware=_decimal(version) if version is not None else None,
            )
    name = _text(sysfs / "class/video4linux" / node / "name")  # not on USB: a sensor on the board
    return CameraIdentity(model=name) if name is not None else None


def _text(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            words = opened.read(_MOST_TEXT_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    return "".join(letter for letter in words if letter.isprintable()).strip() or None


def _decimal(bcd: str) -> str:
    """`0021` -> `0.21`: two digits before the point and two after (USB 2.0, section 9.6.1, bcdDevice)."""
    return f"{bcd[:-2].lstrip('0') or '0'}.{bcd[-2:]}"
