"""Commands from the broker to the inbox, and their states back to the sender."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_agent.clock import Clock
from edge_agent.errors import BadCommandError, BadMessageError, CorruptStoreError, TransientError
from edge_agent.sync.commands import ID_PATTERN, parse_command
from edge_agent.sync.inbox import Inbox, Progress
from edge_agent.sync.messages import Message, ack_message
from edge_agent.sync.topics import parse_tail

log = logging.getLogger(__name__)

# An emptied topic is how a retained message is removed; it is nobody's command.
_NOTHING = b""


class CommandDesk:
    """`send` queues an acknowledgement and says whether that succeeded; `ring` wakes inspect.

    `acknowledge_alarm(code, subject)` acknowledges an alarm of the sync process itself, False when it has no such.
    """

    def __init__(
        self,
        inbox: Inbox,
        clock: Clock,
        *,
        send: Callable[[Message], bool],
        ring: Callable[[], None],
        acknowledge_alarm: Callable[[str, str], bool],
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._send = send
        self._ring = ring
        self._acknowledge_alarm = acknowledge_alarm

    def receive(self, tail: str, payload: bytes, *, retained: bool) -> None:
        """A message below `cmd/`: accepted, known already, or rejected with its reason; the sender is told."""
        found = parse_tail(tail)
        if found is None or found[0].name != "command" or payload == _NOTHING:
            log.debug("topic=%s event=ignored", tail)
            return
        kind, identity = found[1]["type"], found[1]["id"]
        try:
            command = parse_command(kind, identity, payload, retained=retained, now_utc_s=self._clock.utc_s())
            new = self._inbox.accept(command)
            log.info("command=%s id=%s by=%s event=%s", kind, identity, command.by, "accepted" if new else "repeated")
            if new and kind == "alarm-ack" and self._acknowledge_alarm(command.args["code"], command.args["subject"]):
                self._inbox.advance(identity, "successful")
        except BadCommandError as error:
            self._reject(kind, identity, str(error))
        except (TransientError, CorruptStoreError) as error:
            self._reject(kind, identity, f"cannot be noted now, send it again: {error}")
        self.tell()
        self._ring()

    def tell(self) -> None:
        """Acknowledge every state that its sender does not know yet."""
        try:
            for progress in self._inbox.untold():
                if not self._send(_acknowledgement(progress, self._clock.utc_s())):
                    return
                self._inbox.told(progress)
        except (TransientError, CorruptStoreError) as error:
            log.warning("inbox=unreadable reason=%s", error)

    def _reject(self, kind: str, identity: str, reason: str) -> None:
        log.warning("command=%s id=%s event=rejected reason=%s", kind[:80], identity[:80], reason)
        if not ID_PATTERN.fullmatch(identity) or not ID_PATTERN.fullmatch(kind):
            return  # what is no id cannot be a topic to answer on
        self._send(
            ack_message(kind=kind, identity=identity, state="rejected", utc_s=self._clock.utc_s(), reason=reason)
        )


def _acknowledgement(progress: Progress, utc_s: float) -> Message:
    try:
        return ack_message(
            kind=progress.type,
            identity=progress.id,
            state=progress.state,
            utc_s=utc_s,
            reason=progress.reason,
            result=progress.result,
        )
    except BadMessageError as error:
        return ack_message(
            kind=progress.type,
            identity=progress.id,
            state=progress.state,
            utc_s=utc_s,
            reason=f"without result: {error}",
        )
