"""A GenICam camera's settings before it streams: format, region, packet size, features, trigger; and its locks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gi

gi.require_version("Aravis", "0.8")
from gi.repository import Aravis, GLib  # noqa: E402 - the version comes first

from edge_agent.capture.native.wire import REQUEST, StackError  # noqa: E402

_TOLERANCE = 0.01  # cameras count exposure in lines and gain in steps


def set_up(camera: Any, job: Mapping[str, Any]) -> None:
    """`job`: `pixel`, `formats`, `width`, `height`, `packet`, `chunk`, `features`, `trigger`, `activation`.

    Raises:
        StackError: the camera does not have or take what is asked for.
    """
    camera.set_acquisition_mode(Aravis.AcquisitionMode.CONTINUOUS)
    _set_format(camera, job["pixel"], job["formats"])
    if job["width"] or job["height"]:
        _set_size(camera, job["width"], job["height"])
    if job["packet"]:
        camera.gv_set_packet_size(job["packet"])
    if job["chunk"]:
        if not camera.are_chunks_available():
            raise StackError("chunk=1: the camera has no chunk data", REQUEST)
        _asked("chunk=1", lambda: camera.set_chunks("Timestamp"))
    for name, value in job["features"].items():
        _set_feature(camera, name, value)
    _set_trigger(camera, job["trigger"], job["activation"])


def lock(camera: Any, controls: Mapping[str, float | None]) -> list[str]:
    """Set each control that is not None; those that do not hold, a line each."""
    unheld = []
    for name, value in controls.items():
        if value is None:
            continue
        setter = _LOCKS.get(name)
        try:
            fault = setter(camera, value) if setter is not None else "no standard feature of GenICam; use features="
        except GLib.Error as error:
            fault = error.message
        if fault is not None:
            unheld.append(f"{name} {value:.10g}: {fault}")
    return unheld


def _lock_exposure(camera: Any, value: float) -> str | None:
    if not camera.is_exposure_time_available():
        return "the camera has no exposure time"
    if camera.is_exposure_auto_available():
        camera.set_exposure_time_auto(Aravis.Auto.OFF)
    bounds = camera.get_exposure_time_bounds()
    return _lock(value, (bounds[0], bounds[1]), camera.set_exposure_time, camera.get_exposure_time)


def _lock_gain(camera: Any, value: float) -> str | None:
    if not (camera.is_feature_available("Gain") or camera.is_feature_available("GainAbs")):
        return "the camera has no gain in decibels; gain_raw locks its own steps"
    if camera.is_gain_auto_available():
        camera.set_gain_auto(Aravis.Auto.OFF)
    bounds = camera.get_gain_bounds()
    return _lock(value, (bounds[0], bounds[1]), camera.set_gain, camera.get_gain)


def _lock_raw_gain(camera: Any, value: float) -> str | None:
    if not camera.is_feature_available("GainRaw"):
        return "the camera has no feature GainRaw"
    if camera.is_gain_auto_available():
        camera.set_gain_auto(Aravis.Auto.OFF)
    least, most = camera.get_integer_bounds("GainRaw")
    return _lock(
        value,
        (least, most),
        lambda steps: camera.set_integer("GainRaw", round(steps)),
        lambda: float(camera.get_integer("GainRaw")),
    )


_LOCKS: Mapping[str, Callable[[Any, float], str | None]] = {
    "exposure_us": _lock_exposure,
    "gain_db": _lock_gain,
    "gain_raw": _lock_raw_gain,
}


def _lock(
    value: float, bounds: tuple[float, float], write: Callable[[float], object], read: Callable[[], float]
) -> str | None:
    if not bounds[0] <= value <= bounds[1]:
        return f"the camera allows {bounds[0]:.10g} to {bounds[1]:.10g}"
    write(value)
    is_now = read()
    return None if abs(is_now - value) <= max(_TOLERANCE * abs(value), _TOLERANCE) else f"the camera has {is_now:.10g}"


def _set_format(camera: Any, wanted: str | None, known: list[str]) -> None:
    offered = list(camera.dup_available_pixel_formats_as_strings())
    if wanted is None:
        if camera.get_pixel_format_as_string() in known:
            return
        wanted = next((name for name in known if name in offered), None)
    if wanted not in offered or wanted not in known:
        usable = ", ".join(name for name in offered if name in known) or "none that we know"
        raise StackError(
            f"pixel format {wanted or camera.get_pixel_format_as_string()}: the camera offers {', '.join(offered)}, "
            f"usable of these: {usable}",
            REQUEST,
        )
    camera.set_pixel_format_from_string(wanted)


def _set_size(camera: Any, width: int | None, height: int | None) -> None:
    region = camera.get_region()  # x, y, width, height
    wanted = (width or region[2], height or region[3])
    (_, widest), (_, highest) = camera.get_width_bounds(), camera.get_height_bounds()
    if wanted[0] > widest or wanted[1] > highest:  # some cameras take it, and send nothing
        raise StackError(f"a size of {wanted[0]}x{wanted[1]}: the camera makes at most {widest}x{highest}", REQUEST)
    _asked(f"a size of {wanted[0]}x{wanted[1]}", lambda: camera.set_region(0, 0, *wanted))


def _set_feature(camera: Any, name: str, value: str) -> None:
    device = camera.get_device()
    if not device.is_feature_available(name):
        raise StackError(f"the camera has no feature {name}, or not in this state", REQUEST)
    _asked(f"feature {name}={value}", lambda: device.set_features_from_string(f"{name}={value}"))


def _set_trigger(camera: Any, source: str | None, activation: str | None) -> None:
    camera.clear_triggers()
    if source is None:
        return
    offered = list(camera.dup_available_trigger_sources())
    if source not in offered:
        raise StackError(f"trigger {source}: the camera has {', '.join(offered) or 'none'}", REQUEST)
    if source == "Software" and not camera.is_software_trigger_supported():
        raise StackError("trigger Software: the camera does not support it", REQUEST)
    camera.set_trigger(source)
    if activation is not None:
        _asked(f"activation {activation}", lambda: camera.set_string("TriggerActivation", activation))


def _asked(what: str, act: Callable[[], object]) -> None:
    try:
        act()
    except GLib.Error as error:
        raise StackError(f"{what}: {error.message}", REQUEST) from error
