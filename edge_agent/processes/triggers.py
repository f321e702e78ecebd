"""The triggers of one gateway: a gate for each triggered camera, and what fires it. Used by the main thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.clock import Clock
from edge_agent.config.camera import Camera
from edge_agent.config.redact import redact
from edge_agent.errors import BadCommandError
from edge_agent.line.addresses import (
    GpioTrigger,
    ModbusTrigger,
    MqttTrigger,
    Socket,
    TriggerAddress,
    parse_trigger,
)
from edge_agent.line.exchange import Exchange
from edge_agent.line.gate import Lose, TriggerGate
from edge_agent.line.modbus_client import ModbusClient
from edge_agent.line.pending import Terms
from edge_agent.line.triggers import PolledTrigger, ServedTrigger, SocketTrigger, TriggerLine, TriggerSource
from edge_agent.processes.line_health import LineHealth
from edge_agent.processes.live import TriggerLive
from edge_agent.sync.alarms import Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class _Post:
    """One triggered camera. `source` None: commands fire it."""

    text: str
    line: TriggerLine
    health: LineHealth
    source: TriggerSource | None


class TriggerCrew:
    """Starts, stops and replaces triggers. `lose` hears of triggers that get no picture, `note` of conditions."""

    def __init__(self, exchange: Exchange, *, lose: Lose, note: Callable[[Condition], None], clock: Clock) -> None:
        self._exchange = exchange
        self._lose = lose
        self._note = note
        self._clock = clock
        self._posts: dict[str, _Post] = {}

    def prepare(self, name: str, camera: Camera) -> TriggerGate | None:
        """The gate of this camera, None where it runs freely. Nothing fires it before `start`.

        Raises:
            ConfigError: the address cannot be read.
        """
        self.stop(name)
        if camera.trigger is None:
            return None
        terms = Terms(delay_s=camera.trigger_delay_ms / 1e3, timeout_s=camera.trigger_timeout_ms / 1e3)
        gate = TriggerGate(terms, self._clock, self._lose)
        health = LineHealth("trigger-lost", name, self._note)
        line = TriggerLine(camera=name, gate=gate, clock=self._clock, note=health)
        source = self._source(parse_trigger(camera.trigger), line)
        self._posts[name] = _Post(text=redact(camera.trigger), line=line, health=health, source=source)
        return gate

    def start(self, name: str) -> None:
        """Listen to the line for this camera, if it is triggered."""
        post = self._posts.get(name)
        if post is not None:
            post.line.gate.start()
            if post.source is not None:
                post.source.start()

    def stop(self, name: str) -> None:
        """Listen no more: triggers that wait are lost (stopping)."""
        post = self._posts.pop(name, None)
        if post is None:
            return
        if post.source is not None:
            post.source.close()
        self._exchange.leave(_user(name))
        post.line.gate.close()
        post.health.end()

    def stop_all(self) -> None:
        for name in list(self._posts):
            self.stop(name)

    def fire(self, name: str, part: str | None, recipe: str | None) -> None:
        """A command asks for a picture.

        Raises:
            BadCommandError: this camera is not triggered by commands.
        """
        post = self._posts.get(name)
        if post is None:
            raise BadCommandError(f"camera {name} runs freely; set cameras.{name}.trigger to mqtt")
        if post.source is not None:
            raise BadCommandError(f"camera {name} is triggered by {post.text}, not by commands")
        post.line.fire(part, recipe)

    def statuses(self) -> dict[str, TriggerLive]:
        return {name: self._status(post) for name, post in self._posts.items()}

    def _status(self, post: _Post) -> TriggerLive:
        counts, now_s = post.line.gate.counts, self._clock.mono_s()
        plain = dataclasses.asdict(counts)
        last_mono_s = plain.pop("last_mono_s")
        return TriggerLive(
            source=post.text,
            connected=not post.health.lost,
            reason=post.health.reason,
            last_age_s=None if last_mono_s is None else now_s - last_mono_s,
            **plain,
        )

    def _source(self, address: TriggerAddress, line: TriggerLine) -> TriggerSource | None:
        user = _user(line.camera)
        match address:
            case MqttTrigger():
                return None
            case Socket():
                return SocketTrigger(self._exchange.socket(address.name, user, line.note), line)
            case GpioTrigger():
                return _gpio(address, line)
            case ModbusTrigger(serve=True):
                server = self._exchange.modbus(address.host, address.port, user, line.note)
                return ServedTrigger(address, server.bank, line)
            case ModbusTrigger():
                return PolledTrigger(address, ModbusClient.of(address, self._clock), line)


def _gpio(address: GpioTrigger, line: TriggerLine) -> TriggerSource:
    from edge_agent.line.gpio import EdgeTrigger, load_gpiod  # noqa: PLC0415 - an extra, loaded where it is used

    return EdgeTrigger(address, load_gpiod(), line)


def _user(camera: str) -> str:
    return f"trigger of {camera}"
