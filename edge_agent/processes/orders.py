"""Commands carried out in the inspect process: one function per type, found by a table.

inbox: accepted -> executing -> successful | failed | rejected      each state is told to the sender by sync
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from edge_agent.errors import BadCommandError, EdgeAgentError, TransientError
from edge_agent.sync.commands import Command
from edge_agent.sync.inbox import Inbox
from edge_agent.sync.payloads import AckState

log = logging.getLogger(__name__)

# Carried out later: the order ends when the background thread has brought the model, or the reason why not.
Done = Callable[[str | None], None]


class Floor(Protocol):
    """What commands may do to the running gateway. Each raises BadCommandError where it does not apply."""

    def set_threshold(self, camera: str, value: float) -> None: ...

    def set_paused(self, camera: str | None, *, paused: bool) -> None: ...

    def relearn_pictures(self, camera: str) -> None: ...

    def label(self, sample: str, label: str, *, by: str, identity: str, new_class: bool) -> dict[str, Any]: ...

    def ask_to_learn(self) -> None: ...

    def ask_to_finetune(self, action: Literal["start", "cancel"], model: str | None, *, by: str) -> None: ...

    def counters(self) -> dict[str, Any]: ...

    def trigger(self, camera: str, part: str | None, recipe: str | None) -> None: ...

    def acknowledge_alarm(self, code: str, subject: str) -> bool: ...

    def activate_model(self, name: str, digest: str, done: Done, *, by: str) -> None: ...

    def roll_back_model(self, name: str, done: Done, *, by: str) -> None: ...

    def decide_trial(self, name: str, *, confirm: bool, by: str) -> None: ...


class Orders:
    """Takes what waits in the inbox and carries it out. Main thread only; `ring` wakes sync, which tells the sender."""

    def __init__(self, inbox: Inbox, floor: Floor, ring: Callable[[], None]) -> None:
        self._inbox = inbox
        self._floor = floor
        self._ring = ring

    def begin(self) -> None:
        """At start: what an earlier process was carrying out when it ended has failed.

        Raises:
            TransientError, CorruptStoreError.
        """
        if self._inbox.fail_interrupted():
            self._ring()

    def step(self) -> None:
        """Carry out what waits; an inbox that cannot be read now is looked at again at the next step."""
        try:
            waiting = self._inbox.waiting()
        except TransientError as error:
            log.warning("inbox=unreadable reason=%s", error)
            return
        for command in waiting:
            log.info("command=%s id=%s by=%s event=executing", command.type, command.id, command.by)
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        execute = EXECUTORS.get(command.type)
        if execute is None:
            self._end(command, "rejected", f"{command.type}: nothing in the inspect process carries it out")
            return
        try:
            # A rollback done twice is undone: unless it is on disk that we began, we do not begin. The other commands
            # set a state, and setting it again does no harm.
            if command.type == "model" and not self._advance(command, "executing", None, None):
                return
            result = execute(self._floor, command, lambda reason: self._finish(command, reason))
        except BadCommandError as error:
            self._end(command, "failed" if command.type == "model" else "rejected", str(error))
        except EdgeAgentError as error:
            self._end(command, "failed", str(error))
        else:
            if command.type != "model":
                self._end(command, "successful", None, result)

    def _finish(self, command: Command, reason: str | None) -> None:
        self._end(command, "successful" if reason is None else "failed", reason)

    def _end(self, command: Command, state: AckState, reason: str | None, result: Any = None) -> None:
        log.info("command=%s id=%s event=%s reason=%s", command.type, command.id, state, reason)
        self._advance(command, state, reason, result)

    def _advance(self, command: Command, state: AckState, reason: str | None, result: Any) -> bool:
        """Whether the new state is on disk."""
        try:
            self._inbox.advance(command.id, state, reason=reason, result=result)
        except (TransientError, BadCommandError) as error:
            log.warning("command=%s id=%s state=%s unsaved reason=%s", command.type, command.id, state, error)
            return False
        self._ring()
        return True


def _threshold(floor: Floor, command: Command, _done: Done) -> None:
    floor.set_threshold(command.args["camera"], float(command.args["value"]))


def _pause(floor: Floor, command: Command, _done: Done) -> None:
    floor.set_paused(command.args.get("camera"), paused=True)


def _resume(floor: Floor, command: Command, _done: Done) -> None:
    floor.set_paused(command.args.get("camera"), paused=False)


def _trigger(floor: Floor, command: Command, _done: Done) -> None:
    floor.trigger(command.args["camera"], command.args.get("part"), command.args.get("recipe"))


def _camera(floor: Floor, command: Command, _done: Done) -> None:
    floor.relearn_pictures(command.args["camera"])  # the only action so far


def _counters(floor: Floor, _command: Command, _done: Done) -> dict[str, Any]:
    return floor.counters()


def _alarm(floor: Floor, command: Command, _done: Done) -> None:
    if not floor.acknowledge_alarm(command.args["code"], command.args["subject"]):
        raise BadCommandError(f"no alarm {command.args['code']} of {command.args['subject']!r} is active")


def _model(floor: Floor, command: Command, done: Done) -> None:
    action, name = command.args["action"], command.args["name"]
    if action == "activate":
        floor.activate_model(name, command.args["digest"], done, by=command.by)
    elif action == "rollback":
        floor.roll_back_model(name, done, by=command.by)
    else:
        floor.decide_trial(name, confirm=action == "confirm", by=command.by)
        done(None)


def _label(floor: Floor, command: Command, _done: Done) -> dict[str, Any]:
    args = command.args
    return floor.label(
        args["sample"], args["label"], by=command.by, identity=command.id, new_class=args.get("new_class", False)
    )


def _learn(floor: Floor, _command: Command, _done: Done) -> None:
    floor.ask_to_learn()


def _finetune(floor: Floor, command: Command, _done: Done) -> None:
    floor.ask_to_finetune(command.args["action"], command.args.get("model"), by=command.by)


EXECUTORS: Mapping[str, Callable[[Floor, Command, Done], Any]] = {
    "threshold": _threshold,
    "pause": _pause,
    "resume": _resume,
    "trigger": _trigger,
    "camera": _camera,
    "counters": _counters,
    "alarm-ack": _alarm,
    "label": _label,
    "learn": _learn,
    "finetune": _finetune,
    "model": _model,
}
