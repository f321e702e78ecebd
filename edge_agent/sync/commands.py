"""Commands: from a topic and bytes that anybody may have sent to a command that may be executed. Pure.

Order of trust: length, JSON within bounds, envelope, type, arguments, expiry. A command that fails after its id was
read is rejected with the reason, and the sender is told.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from edge_agent.errors import BadCommandError

MAX_COMMAND_BYTES = 16 * 1024
MAX_DEPTH = 6
MAX_NODES = 256
MAX_TEXT_CHARS = 1024
MAX_PART_CHARS = 64
ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An order with an id that makes it happen once. `expires_utc_s` None: whenever it arrives."""

    id: str
    type: str
    by: str
    args: Mapping[str, Any]
    expires_utc_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandShape:
    """What a type of command takes. `check` raises BadCommandError where they do not fit."""

    purpose: str
    arguments: str
    check: Callable[[Mapping[str, Any]], None]


def parse_command(kind: str, identity: str, payload: bytes, *, retained: bool, now_utc_s: float) -> Command:
    """The command that arrived at `cmd/<kind>/<identity>`.

    Raises:
        BadCommandError: it is not to be executed; the message says why, for the acknowledgement.
    """
    if not ID_PATTERN.fullmatch(identity):
        raise BadCommandError(f"id {identity[:80]!r}: expected 1 to 64 of letters, digits, . _ -")
    if retained:
        raise BadCommandError("the command was retained: it would come again at every connect; send it without retain")
    envelope = _read(payload)
    _fields(envelope, "command", required=("v", "by"), optional=("args", "exp"))
    if type(envelope["v"]) is not int or envelope["v"] != 1:
        raise BadCommandError(f"v is {envelope['v']!r}, expected 1")
    by = _text(envelope["by"], "by")
    args = envelope.get("args", {})
    if not isinstance(args, dict):
        raise BadCommandError(f"args is {_kind(args)}, expected an object")
    shape = COMMANDS.get(kind)
    if shape is None:
        raise BadCommandError(f"unknown command type {kind[:80]!r}, expected one of {', '.join(sorted(COMMANDS))}")
    expires_utc_s = _moment(envelope.get("exp"))
    if expires_utc_s is not None and now_utc_s > expires_utc_s:
        raise BadCommandError(f"expired at {envelope['exp']}, {now_utc_s - expires_utc_s:.0f} s ago by this clock")
    shape.check(args)
    return Command(id=identity, type=kind, by=by, args=args, expires_utc_s=expires_utc_s)


def _read(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_COMMAND_BYTES:
        raise BadCommandError(f"payload of {len(payload)} bytes, at most {MAX_COMMAND_BYTES} are read")
    try:
        value = json.loads(payload.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise BadCommandError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadCommandError(f"{_kind(value)}, expected an object")
    _bound(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadCommandError("a key is given twice; which one is meant cannot be known")
    return value


def _no_constant(word: str) -> NoReturn:
    raise BadCommandError(f"{word} is not a number that JSON knows")


def _bound(value: Any) -> None:
    nodes, level, depth = 0, [value], 0
    while level:
        nodes += len(level)
        depth += 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise BadCommandError(f"more than {MAX_NODES} values or {MAX_DEPTH} levels")
        below: list[Any] = []
        for entry in level:
            if isinstance(entry, dict):
                below += entry.values()
            elif isinstance(entry, list):
                below += entry
        level = below


def _moment(text: Any) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(_text(text, "exp").replace("Z", "+00:00"))
    except ValueError as error:
        raise BadCommandError(f"exp is {text!r}, expected RFC 3339 such as 2026-11-24T09:58:42.000Z") from error
    if moment.tzinfo is None:
        raise BadCommandError(f"exp is {text!r}, without a time zone; expected RFC 3339 with Z")
    return moment.timestamp()


def _fields(value: Mapping[str, Any], what: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    for name in required:
        if name not in value:
            raise BadCommandError(f"{what} lacks {name!r}")
    for name in value:
        if name not in required and name not in optional:
            known = ", ".join((*required, *optional)) or "none"
            raise BadCommandError(f"{what} has {name[:80]!r}, known are: {known}")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_CHARS:
        raise BadCommandError(f"{what} is {_kind(value)}, expected a text of 1 to {MAX_TEXT_CHARS} characters")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


MODEL_ACTIONS = ("activate", "rollback", "confirm", "dismiss")


def _model(args: Mapping[str, Any]) -> None:
    _fields(args, "args", required=("action", "name"), optional=("digest",))
    _text(args["name"], "args.name")
    if args["action"] not in MODEL_ACTIONS:
        raise BadCommandError(f"args.action is {args['action']!r}, expected {' or '.join(MODEL_ACTIONS)}")
    if args["action"] == "activate" and not (
        isinstance(args.get("digest"), str) and _DIGEST.fullmatch(args["digest"]) is not None
    ):
        raise BadCommandError("args.digest: activate needs the bundle's sha256, 64 of 0-9 and a-f")
    if args["action"] == "rollback" and "digest" in args:
        raise BadCommandError("args.digest: rollback goes to the previous bundle and takes no digest")
    if args["action"] in ("confirm", "dismiss") and "digest" in args:
        raise BadCommandError(f"args.digest: {args['action']} means the candidate on trial and takes no digest")


def _threshold(args: Mapping[str, Any]) -> None:
    _fields(args, "args", required=("camera", "value"))
    _text(args["camera"], "args.camera")
    value = args["value"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise BadCommandError(f"args.value is {value!r}, expected a number from 0 to 1")


def _camera(args: Mapping[str, Any]) -> None:
    _fields(args, "args", required=("camera", "action"))
    _text(args["camera"], "args.camera")
    if args["action"] != "relearn":
        raise BadCommandError(f"args.action is {args['action']!r}, expected relearn")


def _camera_or_all(args: Mapping[str, Any]) -> None:
    _fields(args, "args", required=(), optional=("camera",))
    if "camera" in args:
        _text(args["camera"], "args.camera")


def _trigger(args: Mapping[str, Any]) -> None:
    _fields(args, "args", required=("camera",), optional=("part", "recipe"))
    _text(args["camera"], "args.camera")
    for name in ("part", "recipe"):
        if name in args and (not isinstance(args[name], str) or not 0 < len(args[name]) <= MAX_PART_CHARS):
            raise BadCommandError(
                f"args.{name} is {_kind(args[name])}, expected a text of 1 to {MAX_PART_CHARS} characters"
            )


def _nothing(args: Mapping[str, Any]) -> None:
    _fields(args, "args", required=())


def _alarm(args: Mapping[str, Any]) -> None:
    _fields(args, "args", required=("code", "subject"))
    _text(args["code"], "args.code")
    if args["subject"] != "":
        _text(args["subject"], "args.subject")


def _label(args: Mapping[str, Any]) -> None:
    _fields(args, "args", required=("sample", "label"), optional=("new_class",))
    _text(args["sample"], "args.sample")
    _text(args["label"], "args.label")
    if not isinstance(args.get("new_class", False), bool):
        raise BadCommandError(f"args.new_class is {args['new_class']!r}, expected true or false")


def _finetune(args: Mapping[str, Any]) -> None:
    _fields(args, "args", required=("action",), optional=("model",))
    if args["action"] not in ("start", "cancel"):
        raise BadCommandError(f"args.action is {args['action']!r}, expected start or cancel")
    if "model" in args:
        _text(args["model"], "args.model")


COMMANDS: Mapping[str, CommandShape] = {
    "model": CommandShape(
        purpose="Activate a bundle that is in the gateway's store, go back to the previous one, or say whether the "
        "candidate on trial shall be in force.",
        arguments="action: activate, rollback, confirm or dismiss; name: model; digest: the bundle's, for activate",
        check=_model,
    ),
    "threshold": CommandShape(
        purpose="Set the threshold of a camera.", arguments="camera; value: 0 to 1", check=_threshold
    ),
    "pause": CommandShape(
        purpose="Stop judging; parts are held with the reason paused.",
        arguments="camera, or none for all",
        check=_camera_or_all,
    ),
    "resume": CommandShape(purpose="Judge again.", arguments="camera, or none for all", check=_camera_or_all),
    "trigger": CommandShape(
        purpose="A part is there: the next picture is its. For cameras with `trigger: mqtt`; give it an expiry.",
        arguments="camera; part and recipe, where there are any (texts of 1 to 64 characters)",
        check=_trigger,
    ),
    "camera": CommandShape(
        purpose="Learn anew what a camera's sound pictures look like, after a change on purpose (docs/capture.md).",
        arguments="camera; action: relearn",
        check=_camera,
    ),
    "counters": CommandShape(purpose="Answer with the counters of every camera.", arguments="none", check=_nothing),
    "alarm-ack": CommandShape(
        purpose="A person has seen an alarm.", arguments="code and subject, as in the alarm", check=_alarm
    ),
    "label": CommandShape(
        purpose="What a person says of a kept picture.",
        arguments="sample: id of the inspection; label: a class; new_class: true where the model does not know it yet",
        check=_label,
    ),
    "finetune": CommandShape(
        purpose="Train the encoder now, outside its window too and within its budgets; or cancel that.",
        arguments="action: start or cancel; model, or none for all in use",
        check=_finetune,
    ),
    "learn": CommandShape(purpose="Learn from the labels now.", arguments="none", check=_nothing),
}
