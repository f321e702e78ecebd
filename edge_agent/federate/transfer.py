"""Receiver-driven transfer of one file, as two tables: what each side does on each event. Pure.

    sender                                   receiver
    WAITING --manifest (until it is asked)-> RECEIVING
    SENDING <-"want": at most 8 blocks------           asks for what is missing, again when nothing comes
            --blocks----------------------->           keeps them on disk; a crash loses at most what was under way
    DELIVERED <-"done"--------------------- CHECKING   sha256 of the whole decides
                                            DONE, or STOPPED after two wrong ones

The receiver never has more under way than it asked for, so nothing large waits in a broker, and resuming is asking for
what is missing. Neither side ever needs the other to remember anything: a sender that starts again announces, a
receiver that starts again asks.

A step takes an event and gives the next state and what is to be done. Blocks are read and written by the caller
(`federate.blocks`): `wants` says whether to keep one, and it must be on disk before the event `Arrived` is handed in.
Times are of a monotonic clock that is handed in.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from edge_agent.errors import BadMessageError
from edge_agent.sync.fleet_payloads import REASON_MAX_CHARS, WINDOW_BLOCKS, BlocksPayload, ManifestPayload

# How long to wait for the other side, doubled each time nothing comes. A window of 512 KiB takes 4 s at 1 Mbit/s.
PATIENCE_S, PATIENCE_MAX_S = 10.0, 300.0
RECENT_S = 2.0
# Asked for more when this many blocks are under way still: the line does not fall idle, and a request has four blocks.
REFILL_AT_BLOCKS = WINDOW_BLOCKS // 2
# The bitmap of a request reaches this far.
REACH_BLOCKS = 256
WRONG_MAX = 2


class Receiving(enum.Enum):
    """Where the receiver is."""

    RECEIVING = "receiving"
    CHECKING = "checking"
    DONE = "done"
    STOPPED = "stopped"


class Sending(enum.Enum):
    """Where the sender is. DELIVERED is not counted: a contribution is kept until its receipt."""

    WAITING = "waiting"
    SENDING = "sending"
    DELIVERED = "delivered"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """`present` is a bitmap: bit n set, block n is on disk. `asked` are the blocks that are under way."""

    manifest: ManifestPayload
    phase: Receiving
    present: int
    asked: frozenset[int]
    due_mono_s: float
    patience_s: float = PATIENCE_S
    wrong: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """`due_mono_s`: when to announce again unless the receiver is heard before."""

    manifest: ManifestPayload
    phase: Sending
    due_mono_s: float
    patience_s: float = PATIENCE_S
    reason: str | None = None


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """To the receiver: the sender announced its manifest (again)."""

    mono_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """To the receiver: block `number` came, and is on disk if it was wanted."""

    number: int
    mono_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """To the receiver: the sha256 (hex) of the whole file on disk."""

    sha256: str
    mono_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """To the sender: what the receiver said."""

    blocks: BlocksPayload
    mono_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """To either: `due_mono_s` has come, or any other moment."""

    mono_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """To either: it is no longer wanted, or the disk cannot take it."""

    reason: str


# --- what is to be done ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Publish this on `xf/<xid>/get`."""

    blocks: BlocksPayload


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Publish these blocks on `xf/<xid>/blk`."""

    numbers: tuple[int, ...]


class Do(enum.Enum):
    """ANNOUNCE the manifest. HASH the whole file and hand in the result. FINISH: the file is whole and right, put it in
    its place. DISCARD what is on disk of it.
    """

    ANNOUNCE = "announce"
    HASH = "hash"
    FINISH = "finish"
    DISCARD = "discard"


Action: TypeAlias = Say | Send | Do
Received: TypeAlias = tuple[Receiver, tuple[Action, ...]]
Sent: TypeAlias = tuple[Sender, tuple[Action, ...]]


# --- receiver -------------------------------------------------------------------------------------------------------


def receive(manifest: ManifestPayload, mono_s: float, *, present: int = 0) -> Received:
    """Begin, or go on with the blocks `present` that a crash left on disk.

    Raises:
        BadMessageError: the bitmap is of another file.
    """
    if present >> manifest.blocks or present < 0:
        raise BadMessageError(f"transfer {manifest.id}: bitmap {present:#x} for {manifest.blocks} blocks; discard it")
    state = Receiver(
        manifest=manifest, phase=Receiving.RECEIVING, present=present, asked=frozenset(), due_mono_s=mono_s
    )
    return _ask(state, mono_s)


def wants(state: Receiver, number: int) -> bool:
    """Whether block `number` is to be written to disk."""
    return (
        state.phase is Receiving.RECEIVING and 0 <= number < state.manifest.blocks and not state.present >> number & 1
    )


def receiver_step(state: Receiver, event: Announced | Arrived | Hashed | Ticked | Cancelled) -> Received:
    """What the receiver does on `event`; every event has an answer in every phase."""
    return _RECEIVER[state.phase][type(event)](state, event)


def _ask(state: Receiver, mono_s: float) -> Received:
    """Ask for what is missing, as far as the window allows; hash when nothing is."""
    missing = ~state.present & (1 << state.manifest.blocks) - 1
    if not missing:
        return replace(state, phase=Receiving.CHECKING, asked=frozenset()), (Do.HASH,)
    first = min(_lowest(missing), min(state.asked, default=state.manifest.blocks))
    open_blocks = missing >> first & (1 << REACH_BLOCKS) - 1
    chosen, bits = set(state.asked), 0
    while open_blocks and len(chosen) < WINDOW_BLOCKS:
        place = _lowest(open_blocks)
        open_blocks &= open_blocks - 1
        if first + place not in chosen:
            chosen.add(first + place)
            bits |= 1 << place
    due_mono_s = mono_s + state.patience_s
    if not bits:
        return replace(state, due_mono_s=due_mono_s), ()
    shift = _lowest(bits)
    bits >>= shift
    missing_hex = bits.to_bytes((bits.bit_length() + 7) // 8, "little").hex()
    said = Say(blocks=BlocksPayload(state="want", first=first + shift, missing=missing_hex))
    return replace(state, asked=frozenset(chosen), due_mono_s=due_mono_s), (said,)


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _arrived(state: Receiver, event: Arrived) -> Received:
    if not wants(state, event.number):
        return replace(state, asked=state.asked - {event.number}), ()
    state = replace(
        state,
        present=state.present | 1 << event.number,
        asked=state.asked - {event.number},
        due_mono_s=event.mono_s + PATIENCE_S,
        patience_s=PATIENCE_S,
    )
    return (state, ()) if len(state.asked) > REFILL_AT_BLOCKS else _ask(state, event.mono_s)


def _receiver_ticked(state: Receiver, event: Ticked) -> Received:
    """Nothing came: what was under way is lost. Ask anew, and wait twice as long."""
    if event.mono_s < state.due_mono_s:
        return state, ()
    patience_s = min(2 * state.patience_s, PATIENCE_MAX_S)
    return _ask(replace(state, asked=frozenset(), patience_s=patience_s), event.mono_s)


def _announced_again(state: Receiver, event: Announced) -> Received:
    """The sender started again, or a request was lost: it may have forgotten what is under way.

    Unless that was asked for, or something came, just now: both sides may have begun again at once, and every block
    would come twice.
    """
    if state.asked and event.mono_s < state.due_mono_s - state.patience_s + RECENT_S:
        return state, ()
    return _ask(replace(state, asked=frozenset(), patience_s=PATIENCE_S), event.mono_s)


def _hashed(state: Receiver, event: Hashed) -> Received:
    if event.sha256 == state.manifest.sha256:
        return replace(state, phase=Receiving.DONE), (Do.FINISH, Say(blocks=BlocksPayload(state="done")))
    wrong = state.wrong + 1
    if wrong < WRONG_MAX:
        again, asked = _ask(
            replace(state, phase=Receiving.RECEIVING, present=0, asked=frozenset(), wrong=wrong), event.mono_s
        )
        return again, (Do.DISCARD, *asked)
    reason = f"sha256 is {event.sha256[:12]}, the manifest says {state.manifest.sha256[:12]}, {wrong} times"
    return _receiver_cancelled(replace(state, wrong=wrong), Cancelled(reason=reason))


def _receiver_cancelled(state: Receiver, event: Cancelled) -> Received:
    stopped = replace(
        state, phase=Receiving.STOPPED, present=0, asked=frozenset(), reason=event.reason[:REASON_MAX_CHARS]
    )
    return stopped, (Do.DISCARD, *_say_again(stopped, event)[1])


def _say_again(state: Receiver, _event: Any) -> Received:
    """Whoever still sends or announces has not heard how it ended."""
    if state.phase is Receiving.DONE:
        return state, (Say(blocks=BlocksPayload(state="done")),)
    return state, (Say(blocks=BlocksPayload(state="stopped", reason=state.reason)),)


def _stay(state: Any, _event: Any) -> tuple[Any, tuple[Action, ...]]:
    return state, ()


_ReceiverStep: TypeAlias = Callable[[Receiver, Any], Received]
_RECEIVER: Mapping[Receiving, Mapping[type, _ReceiverStep]] = {
    Receiving.RECEIVING: {
        Announced: _announced_again,
        Arrived: _arrived,
        Hashed: _stay,
        Ticked: _receiver_ticked,
        Cancelled: _receiver_cancelled,
    },
    Receiving.CHECKING: {
        Announced: _stay,
        Arrived: _stay,
        Hashed: _hashed,
        Ticked: _stay,
        Cancelled: _receiver_cancelled,
    },
    Receiving.DONE: {
        Announced: _say_again,
        Arrived: _stay,
        Hashed: _stay,
        Ticked: _stay,
        Cancelled: _stay,
    },
    Receiving.STOPPED: {
        Announced: _say_again,
        Arrived: _stay,
        Hashed: _stay,
        Ticked: _stay,
        Cancelled: _stay,
    },
}


# --- sender ---------------------------------------------------------------------------------------------------------


def send(manifest: ManifestPayload, mono_s: float) -> Sent:
    """Begin, or begin again after a crash: announce, and wait to be asked."""
    state = Sender(manifest=manifest, phase=Sending.WAITING, due_mono_s=mono_s + PATIENCE_S)
    return state, (Do.ANNOUNCE,)


def sender_step(state: Sender, event: Asked | Ticked | Cancelled) -> Sent:
    """What the sender does on `event`; every event has an answer in every phase.

    Raises:
        BadMessageError: blocks are asked for that the file does not have.
    """
    return _SENDER[state.phase][type(event)](state, event)


def _asked(state: Sender, event: Asked) -> Sent:
    """Also in DELIVERED: a receiver that lost its disk asks anew."""
    if event.blocks.state == "stopped":
        return replace(state, phase=Sending.STOPPED, reason=event.blocks.reason or "no reason given"), ()
    if event.blocks.state == "done":
        return replace(state, phase=Sending.DELIVERED), ()
    wanted = event.blocks.wanted
    if wanted[-1] >= state.manifest.blocks:
        raise BadMessageError(f"transfer {state.manifest.id}: block {wanted[-1]} asked for, of {state.manifest.blocks}")
    heard = replace(state, phase=Sending.SENDING, due_mono_s=event.mono_s + PATIENCE_MAX_S, patience_s=PATIENCE_S)
    return heard, (Send(numbers=wanted),)


def _sender_ticked(state: Sender, event: Ticked) -> Sent:
    if event.mono_s < state.due_mono_s:
        return state, ()
    patience_s = min(2 * state.patience_s, PATIENCE_MAX_S)
    waiting = replace(state, phase=Sending.WAITING, due_mono_s=event.mono_s + state.patience_s, patience_s=patience_s)
    return waiting, (Do.ANNOUNCE,)


def _sender_cancelled(state: Sender, event: Cancelled) -> Sent:
    return replace(state, phase=Sending.STOPPED, reason=event.reason), ()


_SenderStep: TypeAlias = Callable[[Sender, Any], Sent]
_SENDER: Mapping[Sending, Mapping[type, _SenderStep]] = {
    Sending.WAITING: {Asked: _asked, Ticked: _sender_ticked, Cancelled: _sender_cancelled},
    Sending.SENDING: {Asked: _asked, Ticked: _sender_ticked, Cancelled: _sender_cancelled},
    Sending.DELIVERED: {Asked: _asked, Ticked: _stay, Cancelled: _stay},
    Sending.STOPPED: {Asked: _stay, Ticked: _stay, Cancelled: _stay},
}
