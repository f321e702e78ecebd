"""Where pictures come from, as one line of text: `rtsp://10.0.0.12/stream1`, `folder:/srv/parts?watch=1`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, urlsplit

from edge_agent.capture.launch import fault_in
from edge_agent.config.redact import redact
from edge_agent.errors import ConfigError

SYNTHETIC_WORDS = ("scratches", "pits", "stains", "cracks", "mixed", "good")
_PLANT = re.compile(r"[a-z][a-z0-9-]{0,40}")
_CAMERA_NAME = re.compile(r"[A-Za-z0-9 ._:-]{0,64}")
_BARE_VIDEO = re.compile(r"/dev/video\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A parsed address. `target` is the URL, path or name; `warning` is advice for a person, None when all is well."""

    scheme: str
    target: str = field(repr=False)  # may hold credentials
    options: Mapping[str, str] = field(default_factory=dict)
    warning: str | None = None

    def flag(self, name: str) -> bool:
        """Whether option `name` is `1`."""
        return self.options.get(name) == "1"

    def number(self, name: str) -> int | None:
        """Option `name` as a whole number, None when it was not given."""
        return int(self.options[name]) if name in self.options else None

    def __str__(self) -> str:
        return redact(self.target if self.scheme in _NETWORK else f"{self.scheme}:{self.target}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How addresses of one kind are written. `options` maps a name to the pattern of its values."""

    form: str
    check: Callable[[str], str | None]  # warning text, or None
    options: Mapping[str, str] = field(default_factory=dict)


def parse(text: str) -> Address:
    """The address that `text` says.

    Raises:
        ConfigError: found, expected; credentials are not repeated.
    """
    name, colon, rest = text.partition(":")
    scheme = SCHEMES.get(name)
    if not colon or scheme is None:
        raise ConfigError(f"source {redact(text)!r}, expected one of: {', '.join(s.form for s in SCHEMES.values())}")
    if name in _NETWORK:  # a stream's query belongs to the camera: nothing is taken out of it
        return Address(scheme=name, target=text, warning=scheme.check(text))
    if name in _WHOLE:
        return Address(scheme=name, target=rest, warning=scheme.check(rest))
    target, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for option, value in options.items():
        pattern = scheme.options.get(option)
        if pattern is None:
            known = ", ".join(sorted(scheme.options)) or "none"
            raise ConfigError(f"source {text!r}: unknown option {option!r}, {name} knows: {known}")
        if re.fullmatch(pattern, value) is None:
            raise ConfigError(f"source {text!r}: option {option} is {value!r}, expected {pattern}")
    target = target.removeprefix("//")
    return Address(scheme=name, target=target, options=options, warning=scheme.check(target))


def with_login(address: Address, username: str, password: str) -> Address:
    """The address of a stream with a user and a password, whatever characters they hold.

    Raises:
        ConfigError: not a network stream, or it names a user already.
    """
    if address.scheme not in _NETWORK:
        raise ConfigError(f"source {address} takes no username, only {', '.join(_NETWORK)} do")
    start, rest = address.target.split("://", 1)
    if urlsplit(address.target).username is not None:
        raise ConfigError(f"source {address} names a user already; remove it there or remove username and password")
    return replace(address, target=f"{start}://{quote(username, safe='')}:{quote(password, safe='')}@{rest}")


def fault_of(text: str) -> str | None:
    """What is wrong with an address, for a check that collects all errors; None when nothing is."""
    try:
        parse(text)
    except ConfigError as error:
        return str(error)
    return None


def _stream(text: str) -> str | None:
    form = SCHEMES[text.partition(":")[0]].form
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:  # its message may quote a part of the password
        raise ConfigError(f"source {redact(text)!r} is no URL, expected {form}") from None
    if not host or port == 0:
        raise ConfigError(f"source {redact(text)!r} names no host, expected {form}")
    if parts.password:
        return "the address holds a password that everyone who reads the file sees; use `password: !secret NAME`"
    return None


def _device(target: str) -> str | None:
    if not target.startswith("/dev/"):
        raise ConfigError(f"source v4l2:{target}, expected {SCHEMES['v4l2'].form}")
    if _BARE_VIDEO.fullmatch(target):
        return f"{target} may name another camera after a restart; use a path under /dev/v4l/by-id or /dev/v4l/by-path"
    return None


def _pipeline(text: str) -> str | None:
    fault = fault_in(text)
    if fault is not None:
        raise ConfigError(f"source {redact(f'gstreamer:{text}')!r}: {fault}, expected {SCHEMES['gstreamer'].form}")
    if redact(text) != text:
        return "the pipeline holds a password or user that everyone who reads the file sees"
    return None


def _sensor(target: str) -> str | None:
    if re.fullmatch("[0-9]{1,2}", target) is None:
        raise ConfigError(f"source csi:{target}, expected {SCHEMES['csi'].form}, the first sensor is 0")
    return None


def _vision(target: str) -> str | None:
    if _CAMERA_NAME.fullmatch(target) is None:
        raise ConfigError(f"source genicam:{target}, expected {SCHEMES['genicam'].form}")
    return None


def _path(target: str) -> str | None:
    if not target:
        raise ConfigError("source names no path, expected folder:DIR or video:FILE")
    return None


def _line(target: str) -> str | None:
    if _PLANT.fullmatch(target) is None:
        raise ConfigError(f"source synthetic:{target}, expected {' | '.join(SYNTHETIC_WORDS)}, or the name of a plant")
    return None


_NETWORK = ("rtsp", "rtsps", "http", "https")
_WHOLE = ("gstreamer",)  # a pipeline has `?` and `&` of its own
_SIZE = "[1-9][0-9]{0,4}"
SCHEMES: dict[str, Scheme] = {
    "rtsp": Scheme(form="rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH", check=_stream),
    "rtsps": Scheme(form="rtsps://[USER:PASSWORD@]HOST[:PORT]/PATH", check=_stream),
    "http": Scheme(form="http://[USER:PASSWORD@]HOST[:PORT]/PATH", check=_stream),
    "https": Scheme(form="https://[USER:PASSWORD@]HOST[:PORT]/PATH", check=_stream),
    "v4l2": Scheme(
        form="v4l2:/dev/v4l/by-id/NAME[?width=W&height=H&fourcc=MJPG]",
        check=_device,
        options={"width": _SIZE, "height": _SIZE, "fourcc": "[A-Z0-9]{4}"},
    ),
    "gstreamer": Scheme(form="gstreamer:ELEMENT ! ELEMENT ...", check=_pipeline),
    "csi": Scheme(
        form="csi:SENSOR[?width=W&height=H&fps=N]",
        check=_sensor,
        options={"width": _SIZE, "height": _SIZE, "fps": "[1-9][0-9]{0,2}"},
    ),
    "genicam": Scheme(
        form="genicam:[SERIAL|IP|NAME][?trigger=software|Line1&activation=RisingEdge&pixel=BayerRG8&width=W&height=H...]",
        check=_vision,
        options={
            "trigger": "software|[A-Z][A-Za-z0-9]{0,31}",
            "activation": "RisingEdge|FallingEdge|AnyEdge|LevelHigh|LevelLow",
            "pixel": "[A-Z][A-Za-z0-9_]{2,31}",
            "width": _SIZE,
            "height": _SIZE,
            "packet": "[1-9][0-9]{2,4}",
            "chunk": "[01]",
            "features": "[A-Za-z0-9_]+=[^,=]+(,[A-Za-z0-9_]+=[^,=]+)*",
        },
    ),
    "folder": Scheme(form="folder:DIR[?watch=1|loop=1]", check=_path, options={"watch": "[01]", "loop": "[01]"}),
    "video": Scheme(form="video:FILE", check=_path),
    "synthetic": Scheme(
        form=f"synthetic:{'|'.join(SYNTHETIC_WORDS)}|PLANT[?seed=N]", check=_line, options={"seed": "[0-9]{1,9}"}
    ),
}
