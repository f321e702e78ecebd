"""Which GenICam cameras answer on the network and on USB. Runs in a camera process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gi

gi.require_version("Aravis", "0.8")
from gi.repository import Aravis  # noqa: E402 - its version comes first

from edge_agent.capture.native.wire import REQUEST, SharedMemory, StackError  # noqa: E402


class ListStack:
    """A stack that opens nothing: what it "opened" is the list."""

    def __init__(self, _job: Mapping[str, Any], _memory: SharedMemory) -> None:
        pass

    def open(self) -> dict[str, Any]:
        Aravis.update_device_list()
        return {"cameras": [_described(place) for place in range(Aravis.get_n_devices())]}

    def next(self, _within_s: float) -> dict[str, Any]:
        raise StackError("a list has no pictures", REQUEST)

    def close(self) -> None:
        pass


def _described(place: int) -> dict[str, Any]:
    return {
        "id": Aravis.get_device_id(place),
        "vendor": Aravis.get_device_vendor(place),
        "model": Aravis.get_device_model(place),
        "serial": Aravis.get_device_serial_nbr(place),
        "address": Aravis.get_device_address(place),
    }
