"""The line signals of one gateway: made of the configuration, fed by the inspect loop. Used by the main thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_agent.clock import Clock
from edge_agent.config.redact import redact
from edge_agent.config.signals import Signal
from edge_agent.inspect.counters import quantile
from edge_agent.line.addresses import GpioSignal, ModbusSignal, OpcUaSignal, Socket, parse_signal
from edge_agent.line.exchange import Exchange, Note
from edge_agent.line.login import Login
from edge_agent.line.missing import MissingPort
from edge_agent.line.modbus_client import ModbusClient
from edge_agent.line.modbus_ports import BankPort, ModbusPort
from edge_agent.line.signaller import Port, Signaller, SignalPlan
from edge_agent.line.signals import blocks
from edge_agent.line.sockets import SocketPort
from edge_agent.processes.line_health import LineHealth
from edge_agent.processes.live import SignalLive
from edge_agent.records import Inspection, Verdict
from edge_agent.sync.alarms import Condition

NO_OPCUA = "the package asyncua is not installed; pip install 'edge-agent[opcua]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Post:
    """A running signal, and what it was made of."""

    keys: Signal
    cameras: tuple[str, ...]
    signaller: Signaller
    health: LineHealth


class SignalCrew:
    """Implements a sink of the inspect loop: `sink` and what `durable` gives are called from its threads.

    `steps` counts the turns of the inspect loop; `note` hears of conditions.
    """

    def __init__(
        self, exchange: Exchange, *, steps: Callable[[], int], note: Callable[[Condition], None], clock: Clock
    ) -> None:
        self._exchange = exchange
        self._steps = steps
        self._note = note
        self._clock = clock
        self._posts: dict[str, _Post] = {}
        self._up: dict[str, bool] = {}

    def apply(self, signals: Mapping[str, Signal], cameras: tuple[str, ...]) -> None:
        """Make what is new or changed, end what is gone; the others go on."""
        wanted = {name: (keys, keys.cameras or cameras) for name, keys in signals.items()}
        for name, post in list(self._posts.items()):
            if wanted.get(name) != (post.keys, post.cameras):
                self._stop(name)
        for name, (keys, told) in wanted.items():
            if name not in self._posts:
                self._start(name, keys, told)

    def set_up(self, camera: str, *, up: bool) -> None:
        """Whether this camera gives pictures; from any thread."""
        self._up[camera] = up
        for post in tuple(self._posts.values()):
            if camera in post.cameras:
                post.signaller.set_up(camera, up=up)

    def sink(self, inspection: Inspection) -> None:
        """Tell a verdict, or have it wait for the disk where that is asked for."""
        for post in tuple(self._posts.values()):
            if post.keys.after == "durable":
                post.signaller.expect(inspection)
            else:
                post.signaller.put(inspection)

    def durable(self, inspection: Inspection) -> Callable[[], None] | None:
        """What to do once this verdict is durable; None where nobody waits for that."""
        waiting = [
            post.signaller
            for post in tuple(self._posts.values())
            if post.keys.after == "durable" and inspection.camera in post.cameras
        ]
        if not waiting:
            return None

        def tell() -> None:
            for signaller in waiting:
                signaller.put(inspection)

        return tell

    def stop_all(self) -> None:
        """Show everybody that we stop."""
        for post in self._posts.values():
            post.signaller.halt()
        for name in list(self._posts):
            self._stop(name)

    def statuses(self) -> dict[str, SignalLive]:
        return {name: _status(post.signaller) for name, post in self._posts.items()}

    def _start(self, name: str, keys: Signal, cameras: tuple[str, ...]) -> None:
        plan = SignalPlan(
            name=name,
            to=redact(keys.to),
            cameras=cameras,
            safe=Verdict(keys.fail_safe),
            heartbeat_s=keys.heartbeat_ms / 1e3,
            stall_s=keys.stall_ms / 1e3,
            show_s=keys.show_ms / 1e3,
        )
        health = LineHealth("signal-lost", name, self._note)
        port = self._port(name, keys, cameras, health)
        signaller = Signaller(plan, port, steps=self._steps, clock=self._clock, note=health)
        for camera in cameras:
            signaller.set_up(camera, up=self._up.get(camera, False))
        signaller.start()
        self._posts = {**self._posts, name: _Post(keys=keys, cameras=cameras, signaller=signaller, health=health)}

    def _stop(self, name: str) -> None:
        post = self._posts[name]
        self._posts = {other: kept for other, kept in self._posts.items() if other != name}
        post.signaller.halt()
        post.signaller.join()
        self._exchange.leave(_user(name))
        post.health.end()

    def _port(self, name: str, keys: Signal, cameras: tuple[str, ...], note: Note) -> Port:
        address = parse_signal(keys.to)
        match address:
            case ModbusSignal(serve=True):
                server = self._exchange.modbus(address.host, address.port, _user(name), note)
                return BankPort(server, blocks(address.table, address.start, cameras))
            case ModbusSignal():
                return ModbusPort(ModbusClient.of(address, self._clock), blocks(address.table, address.start, cameras))
            case Socket():
                return SocketPort(self._exchange.socket(address.name, _user(name), note))
            case GpioSignal():
                return _gpio(address)
            case OpcUaSignal():
                return _opcua(address, keys)


def _gpio(address: GpioSignal) -> Port:
    from edge_agent.line.gpio import GpioPort, load_gpiod  # noqa: PLC0415 - an extra, loaded where it is used

    return GpioPort(address, load_gpiod())


def _opcua(address: OpcUaSignal, keys: Signal) -> Port:
    try:
        from edge_agent.line.opcua import OpcUaPort  # noqa: PLC0415 - an extra, and 33 MiB
    except ImportError:
        return MissingPort(NO_OPCUA)
    return OpcUaPort(address, login_of(keys))


def login_of(keys: Signal) -> Login:
    """How we show who we are to the OPC UA server of this signal."""
    return Login(
        username=keys.username,
        password=keys.password.get_secret_value() if keys.password is not None else None,
        security=keys.security,
        cert_file=keys.cert_file,
        key_file=keys.key_file,
        server_cert_file=keys.server_cert_file,
    )


def _user(signal: str) -> str:
    return f"signal {signal}"


def _status(signaller: Signaller) -> SignalLive:
    status = signaller.status
    ordered = sorted(status.latencies_ms)
    return SignalLive(
        to=status.to,
        connected=status.connected,
        reason=status.reason,
        written=status.written,
        missed=status.missed,
        states=status.states,
        last_verdict=status.last_verdict,
        last_part=status.last_part,
        heartbeat_age_s=status.heartbeat_age_s,
        trigger_p50_ms=quantile(ordered, 0.50),
        trigger_p99_ms=quantile(ordered, 0.99),
    )
