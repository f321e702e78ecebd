"""Messages of a round: from bytes that anybody may have sent to a record that can be trusted to be well formed. Pure.

Order: length, UTF-8, JSON without NaN and repeated names, the version, the type of every field, and then what the
record itself refuses (`sync.fleet_payloads`). Fields that are not known are ignored: a newer program may send them.

    fl/offer -> OfferPayload    fl/up -> ContributionPayload    fl/receipt -> ReceiptPayload    xf/<xid>/get -> Blocks
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, TypeVar

from edge_agent.errors import BadMessageError
from edge_agent.sync.fleet_payloads import (
    FLEET_VERSION,
    BlocksPayload,
    ContributionPayload,
    OfferPayload,
    ReceiptPayload,
)
from edge_agent.sync.payloads import encode

# The largest honest one is an offer with 256 ranges and 64 settings: some 12 KiB.
MAX_MESSAGE_BYTES = 32 * 1024
OFFER_TAIL, CONTRIBUTION_TAIL, RECEIPT_TAIL = "fl/offer", "fl/up", "fl/receipt"

Record = TypeVar("Record", OfferPayload, ContributionPayload, ReceiptPayload, BlocksPayload)


def get_tail(xid: str) -> str:
    """Where the receiver of transfer `xid` asks for blocks."""
    return f"xf/{xid}/get"


def block_tail(xid: str) -> str:
    """Where its sender answers with blocks."""
    return f"xf/{xid}/blk"


def write(record: OfferPayload | ContributionPayload | ReceiptPayload | BlocksPayload) -> bytes:
    """Compact UTF-8 JSON; the same record always has the same bytes."""
    return encode(record)


def read(kind: type[Record], payload: bytes) -> Record:
    """The record in `payload`.

    Raises:
        BadMessageError: too long, no JSON object, of another version, or a field is missing or cannot be meant.
    """
    what = kind.__name__.removesuffix("Payload").lower()
    if len(payload) > MAX_MESSAGE_BYTES:
        raise BadMessageError(f"{what}: {len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are read")
    try:
        value = json.loads(payload.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise BadMessageError(f"{what}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadMessageError(f"{what}: {_kind(value)}, expected an object")
    # Before anything else: another version may mean something else by every field.
    version = value.get("v")
    if type(version) is not int or not 1 <= version <= FLEET_VERSION:
        raise BadMessageError(
            f"{what}: v is {version!r}, this program reads 1 to {FLEET_VERSION}; update the older side"
        )
    return typing.cast("Record", _record(kind, value, what))


def _record(kind: type[Any], value: Mapping[str, Any], where: str) -> Any:
    given: dict[str, Any] = {}
    for name, (hint, needed) in _fields(kind).items():  # type: ignore[arg-type]  # a type is hashable
        if name in value:
            given[name] = _fit(hint, value[name], f"{where}: {name}")
        elif needed:
            raise BadMessageError(f"{where}: {name} is missing, found {sorted(value)[:16]}")
    return kind(**given)


@functools.cache
def _fields(kind: type[Any]) -> Mapping[str, tuple[Any, bool]]:
    """For each field its type, and whether it must be there."""
    hints = typing.get_type_hints(kind)
    absent = dataclasses.MISSING
    return {
        entry.name: (hints[entry.name], entry.default is absent and entry.default_factory is absent)
        for entry in dataclasses.fields(kind)
    }


def _fit(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint` of a field, one of the few that our records have."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return _fit_one_of(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            raise BadMessageError(f"{where} is {str(value)[:80]!r}, expected one of {', '.join(arguments)}")
        return value
    if origin is tuple:
        return _fit_list(arguments, value, where)
    if hint not in _NAMES:
        return _fit_object(hint, value, where)
    if hint is float and type(value) is int:
        return _as_float(value, where)
    # `type` and not isinstance: True is an int to Python and not to us.
    if type(value) is not hint:
        raise BadMessageError(f"{where} is {_kind(value)}, expected {_NAMES[hint]}")
    return value


def _fit_object(hint: Any, value: Any, where: str) -> Any:
    """A record of ours, or names with values of one type."""
    if not isinstance(value, dict):
        raise BadMessageError(f"{where} is {_kind(value)}, expected an object")
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast("type[Any]", hint), value, where)
    kind = typing.get_args(hint)[1]
    return {name: _fit(kind, entry, f"{where}.{name[:64]}") for name, entry in value.items()}


def _fit_one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    """A field that may be null, or one of the plain types."""
    if type(value) in hints:
        return value
    composed = [hint for hint in hints if hint not in _NAMES]
    if len(composed) == 1 and value is not None:
        return _fit(composed[0], value, where)
    raise BadMessageError(f"{where} is {_kind(value)}, expected {' or '.join(_NAMES.get(hint, '?') for hint in hints)}")


def _fit_list(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise BadMessageError(f"{where} is {_kind(value)}, expected an array")
    if hints[-1] is ...:
        return tuple(_fit(hints[0], entry, f"{where}[{place}]") for place, entry in enumerate(value))
    if len(value) != len(hints):
        raise BadMessageError(f"{where} has {len(value)} entries, expected {len(hints)}")
    pairs = zip(hints, value, strict=True)
    return tuple(_fit(hint, entry, f"{where}[{place}]") for place, (hint, entry) in enumerate(pairs))


def _as_float(value: int, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise BadMessageError(f"{where} is an integer of {value.bit_length()} bits, expected a number") from error


_NAMES: Mapping[Any, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else _NAMES[type(value)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")
