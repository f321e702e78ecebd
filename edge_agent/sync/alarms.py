"""Alarm codes, and the book of which are active. Pure.

A code never changes its meaning; dashboards and people's habits are built on it. docs/mqtt/README.md is made from this
table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_agent.records import Alarm, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmCode:
    """What a code means and what a person does about it. `latched`: stays until a person acknowledges it."""

    severity: Severity
    meaning: str
    advice: str
    latched: bool = False


def _code(severity: Severity, meaning: str, advice: str, *, latched: bool = False) -> AlarmCode:
    return AlarmCode(severity=severity, meaning=meaning, advice=advice, latched=latched)


_INFO, _WARNING, _CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL

ALARM_CODES: Mapping[str, AlarmCode] = {
    "broker-denied": _code(
        _CRITICAL,
        "The broker refuses a topic of ours (reason 135); its messages are parked, other topics flow.",
        "Compare the broker's ACL with the example below, then run `edge-agent outbox --requeue`.",
    ),
    "message-parked": _code(
        _WARNING,
        "The broker will not take one particular message (too large, or it closes the connection on it).",
        "Compare the broker's size limits with docs/mqtt; look at `edge-agent outbox`.",
        latched=True,
    ),
    "disk-full": _code(
        _CRITICAL,
        "The state directory has no space left; messages are kept in memory, oldest passes are lost first.",
        "Free disk space, or lower the limits of evidence and outbox.",
    ),
    "state-read-only": _code(
        _CRITICAL,
        "The state directory cannot be written; messages are kept in memory only.",
        "Check the mount, the file system's health and the directory's owner.",
    ),
    "outbox-fault": _code(
        _CRITICAL,
        "The outbox cannot be written for another reason; messages are kept in memory only.",
        "Look at the text and the system journal; the disk may be failing.",
    ),
    "outbox-corrupt": _code(
        _WARNING,
        "The outbox was damaged; it was moved aside and a fresh one begun.",
        "Keep the file that the text names for support; check the disk.",
        latched=True,
    ),
    "outbox-evicting": _code(
        _WARNING,
        "The outbox reached its limit of bytes or age; the least important messages are being dropped and counted.",
        "Restore the connection to the broker, or raise the outbox limits.",
    ),
    "evidence-full": _code(
        _WARNING,
        "The evidence store is full of pictures that may not go, or the disk is full; nothing new is kept.",
        "Raise `evidence.limit_bytes`, free disk space, or release holds (`edge-agent evidence stats`).",
    ),
    "evidence-damaged": _code(
        _WARNING,
        "The database of the evidence store is damaged, or it and its pictures do not belong together.",
        "Mount what is missing, or run `edge-agent evidence repair`; inspection goes on without it.",
    ),
    "evidence-fault": _code(
        _WARNING,
        "The evidence store cannot be written for another reason; pictures for labels are lost, verdicts are not.",
        "Look at the text and the system journal; the disk may be failing.",
    ),
    "camera-lost": _code(_CRITICAL, "A camera cannot be opened.", "Check its power, cable, address and password."),
    "camera-stalled": _code(
        _CRITICAL, "A camera is connected and gives no pictures.", "It is being reopened; check its network load."
    ),
    "camera-exchanged": _code(
        _WARNING,
        "Another camera answers at this address: its serial number is not the one that was there before.",
        "Check that it is the right one and looks as the old one did; then acknowledge.",
        latched=True,
    ),
    "camera-controls": _code(
        _WARNING,
        "A control of a camera that is to be locked (exposure, gain, white balance, focus) does not hold.",
        "Compare `controls` with what the text says the camera has; its parts go on being judged.",
    ),
    "picture-unhealthy": _code(
        _CRITICAL,
        "Pictures of a camera cannot be trusted (frozen, repeated, dark, overexposed, blurred, moved): HOLD.",
        "Check light, lens, focus and mounting; after a change on purpose send `camera` with action relearn.",
    ),
    "drift-light": _code(
        _WARNING,
        "The light of a camera's pictures has slowly or slightly changed since it was learned; verdicts go on.",
        "Look at lamp, dirt and daylight; after a change on purpose send `camera` with action relearn.",
    ),
    "drift-focus": _code(
        _WARNING,
        "The pictures of a camera have become less (or more) sharp than they were learned; verdicts go on.",
        "Clean the lens, check focus and distance; after a change on purpose send `camera` with action relearn.",
    ),
    "drift-moved": _code(
        _WARNING,
        "A camera no longer looks exactly where it looked; the text says by how many pixels.",
        "Tighten its mounting; after a change on purpose send `camera` with action relearn.",
    ),
    "drift-product": _code(
        _WARNING,
        "The parts no longer look like those that were learned, though camera and light are as they were.",
        "Check whether product or material changed; label some of the new parts, then send `camera`, relearn.",
    ),
    "drift-model": _code(
        _WARNING,
        "Scores, verdicts or labels of a camera have changed though its pictures look as before.",
        "Look at the latest parts: are there more defects, or is the model off? Label some; see `edge-agent models`.",
    ),
    "trigger-lost": _code(
        _CRITICAL,
        "The line's trigger cannot be read (PLC, GPIO or socket); parts may pass without being judged.",
        "Check the PLC's address and network; it is tried again for ever.",
    ),
    "signal-lost": _code(
        _CRITICAL,
        "The line signal cannot be written; the PLC does not hear verdicts and must take its own safe state.",
        "Check the PLC's address and network; it is tried again for ever.",
    ),
    "overload": _code(
        _WARNING,
        "Frames come faster than they can be judged; the newest are judged, the others held.",
        "Lower fps, use the int8 model, or fewer cameras.",
    ),
    "model-failed": _code(
        _CRITICAL,
        "A model could not be loaded, or does not give its golden answers on this device.",
        "The previous model stays in force where there is one; see `edge-agent models`.",
    ),
    "candidate-waiting": _code(
        _INFO,
        "The shadow run of a new model is sound, and `models.release.approval` asks for a person.",
        "Look at its differing parts on the review page; then send `model` with action confirm or dismiss.",
    ),
    "candidate-dismissed": _code(
        _WARNING,
        "A new model was turned down after its shadow run on live parts; it never was in force.",
        "Label the parts on which the two differ (review page, reason differ): the next one learns from them.",
        latched=True,
    ),
    "model-rolled-back": _code(
        _WARNING,
        "A new model was taken back on its probation; the one before it judges again.",
        "Look at the numbers in the text and at `edge-agent models history`; that bundle is not tried again.",
        latched=True,
    ),
    "provider-fallback": _code(
        _CRITICAL,
        "The execution provider that the profile asks for is not the one in use.",
        "Run `edge-agent check`; install the runtime that the profile names.",
    ),
    "config-refused": _code(
        _WARNING,
        "A changed configuration was refused; the old one stays in force.",
        "Run `edge-agent check --config FILE`; it lists every fault with its place.",
    ),
    "clock-jump": _code(
        _INFO, "The wall clock jumped; time stamps before and after do not compare.", "Check NTP.", latched=True
    ),
    "hot": _code(_WARNING, "The device is near its thermal limit.", "Check fan, filter and cabinet."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a part of the program notices: this code holds (or no longer holds) for this subject."""

    code: str
    subject: str
    active: bool
    text: str


Listener = Callable[[Condition], None]


class AlarmBook:
    """Which alarms are active; turns conditions, told as often as one likes, into the alarms that are news."""

    def __init__(self) -> None:
        self._active: dict[tuple[str, str], Alarm] = {}

    @property
    def active(self) -> tuple[Alarm, ...]:
        return tuple(self._active.values())

    def note(self, condition: Condition, utc_s: float) -> Alarm | None:
        """The alarm to publish, or None when nothing changed. A latched code is not cleared by its condition.

        Raises:
            KeyError: the code is not in the table.
        """
        code = ALARM_CODES[condition.code]
        key = (condition.code, condition.subject)
        known = self._active.get(key)
        if condition.active and known is None:
            alarm = Alarm(
                code=condition.code,
                subject=condition.subject,
                severity=code.severity,
                text=condition.text,
                active=True,
                since_utc_s=utc_s,
            )
            self._active[key] = alarm
            return alarm
        if condition.active or known is None or code.latched:
            return None
        del self._active[key]
        return dataclasses.replace(known, active=False, text=condition.text or known.text)

    def acknowledge(self, code: str, subject: str) -> Alarm | None:
        """A person has seen it: a latched alarm ends here, another stays active. None when no such alarm is active."""
        known = self._active.get((code, subject))
        if known is None:
            return None
        if ALARM_CODES[code].latched:
            del self._active[(code, subject)]
            return dataclasses.replace(known, active=False)
        return known
