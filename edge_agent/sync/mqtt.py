"""The door to paho: one connection to one broker, driven by its owner's thread, and never used again once it is lost.

    open -> (a thread dials: names, TCP, TLS) -> Connected -> publish / Published / Received ... -> Lost
                                              -> Refused, Lost

Why it looks like this, against what paho 2.2.0 was seen to do:
- paho's network thread dies silently of an exception in a callback; here there is none: `pump` runs paho's loop on the
  owner's thread and what a callback raises comes out of `pump`;
- paho re-sends all it holds in one burst after a reconnect, under old message ids, even a message that the broker
  closed the connection over; here each connection has a fresh client, so the outbox alone decides what is sent again
  (what drop_out_messages() is for, in clients that live on);
- publish() while offline reports an error and keeps the message; here publishing is refused unless connected;
- Nagle is left on: 44 ms per acknowledged 64 KiB block instead of 0.6 ms; here TCP_NODELAY is set;
- the broker's Receive Maximum and Maximum Packet Size are ignored; here they are read and handed to the owner.
"""

from __future__ import annotations

import contextlib
import enum
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.clock import Clock
from edge_agent.errors import BrokerError
from edge_agent.sync.broker import MqttOptions, explain, parse_url, tls_context

FAILURE = 128  # MQTT 5, 2.4: reason codes from here on say that something did not happen
PROTOCOL_ERROR = 130
NOT_AUTHORIZED = 135
QUOTA_EXCEEDED = 151
# What the broker may send us: a command is at most 16 KiB, the rest is its topic and properties.
RECEIVE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One PUBLISH: the whole topic, the bytes, and how. `expiry_s` and `content_type` travel with MQTT 5 only."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int
    retain: bool
    content_type: str | None = None
    expiry_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """CONNACK. `max_packet_bytes` None: the broker names no limit."""

    session_present: bool
    receive_maximum: int
    max_packet_bytes: int | None
    retain_available: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The connection is no more, or never came to be. `code` is the broker's reason code, None when it gave none."""

    reason: str
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The broker's answer to one publication (for QoS 0: it was written to the socket)."""

    mid: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message to us."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """The broker's answer to a subscription: one reason code for each filter."""

    mid: int
    codes: tuple[int, ...]


Event = Connected | Lost | Published | Received | Subscribed


class _State(enum.Enum):
    DIALLING = "dialling"
    CONNECTED = "connected"
    OVER = "over"


class Connection:
    """One attempt to reach the broker and, if it succeeds, one connection until it is lost. Not to be opened twice."""

    def __init__(self, options: MqttOptions, will: Publication, clock: Clock, *, wake: Callable[[], None]) -> None:
        """`wake` is called from the dialling thread when `pump` has something to say.

        Raises:
            ConfigError: the URL is not one.
        """
        self.address = parse_url(options.url)
        self._options = options
        self._will = will
        self._clock = clock
        self._wake = wake
        self._events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self._client: paho.Client | None = None  # set once the dialling thread is done with it
        self._state = _State.DIALLING
        self._deadline_mono_s = float("inf")
        self._properties: dict[tuple[str | None, int | None], Properties | None] = {}

    def open(self) -> None:
        """Dial, in a thread: a name server or a firewall may let us wait longer than a watchdog does."""
        threading.Thread(target=self._dial, name="mqtt-dial", daemon=True).start()

    @property
    def connected(self) -> bool:
        return self._state is _State.CONNECTED

    def sockets(self) -> tuple[list[Any], list[Any]]:
        """What to wait for in a select: readable, writable. Both empty while there is no socket."""
        stream = None if self._client is None else self._client.socket()
        if stream is None or self._client is None:
            return [], []
        return [stream], [stream] if self._client.want_write() else []

    def has_buffered(self) -> bool:
        """Whether TLS holds bytes that a select would not see."""
        stream = None if self._client is None else self._client.socket()
        return stream is not None and hasattr(stream, "pending") and stream.pending() > 0

    def pump(self) -> list[Event]:
        """Read, write, keep alive; what happened since the last call, in order. Never waits.

        Raises:
            BaseException: whatever a callback, or the dialling thread, raised and did not expect.
        """
        if self._client is not None and self._client.socket() is not None:
            self._read(self._client)
            if self._client.want_write():
                self._client.loop_write()
            self._client.loop_misc()
            if self._state is _State.DIALLING and self._clock.mono_s() > self._deadline_mono_s:
                self._lose(f"no CONNACK within {self._options.connect_timeout_s:g} s", None)
        events: list[Event] = []
        with contextlib.suppress(queue.Empty):
            while True:
                event = self._events.get_nowait()
                if isinstance(event, BaseException):
                    raise event
                events.append(event)
        return events

    def publish(self, publication: Publication) -> int:
        """Send one message; its `Published` event carries the number returned here.

        Raises:
            BrokerError: not connected.
        """
        if not self.connected or self._client is None:
            raise BrokerError(f"{self.address.text}: not connected; nothing was sent")
        info = self._client.publish(
            publication.topic,
            publication.payload,
            qos=publication.qos,
            retain=publication.retain,
            properties=self._publish_properties(publication.content_type, publication.expiry_s),
        )
        # A return code other than 0 means that the connection broke just now: the Lost event is in the queue already.
        return info.mid

    def subscribe(self, filters: Sequence[str]) -> int:
        """Ask for topics, QoS 1; the `Subscribed` event carries the number returned here.

        Raises:
            BrokerError: not connected.
        """
        if not self.connected or self._client is None:
            raise BrokerError(f"{self.address.text}: not connected; nothing was subscribed")
        if self._options.protocol == 5:
            # Else a retained message that comes while we are subscribed does not look like one.
            wanted: list[Any] = [(text, SubscribeOptions(qos=1, retainAsPublished=True)) for text in filters]
        else:
            wanted = [(text, 1) for text in filters]
        _, mid = self._client.subscribe(wanted)
        return int(mid or 0)

    def close(self) -> None:
        """Say goodbye if we are connected: the broker then forgets our Will."""
        self._state = _State.OVER
        if self._client is not None:
            self._client.on_disconnect = None
            self._client.disconnect()
            self._client = None

    def _read(self, client: paho.Client) -> None:
        # One call reads as many packets as are in flight, at least one; more may wait where a select does not see them.
        seen = -1
        while seen != self._events.qsize() and client.socket() is not None:
            seen = self._events.qsize()
            client.loop_read()

    # from here on: the dialling thread

    def _dial(self) -> None:
        try:
            client = self._build()
            client.reconnect()
        except (OSError, ValueError) as error:  # ssl.SSLError, gaierror, timeout and paho's websocket error among them
            self._events.put(Lost(reason=f"{self.address.text}: {explain(error, self._options)}"))
        except BaseException as error:  # noqa: BLE001 - raised again by pump, on the owner's thread
            self._events.put(error)
        else:
            self._deadline_mono_s = self._clock.mono_s() + self._options.connect_timeout_s
            self._client = client
            if self._state is _State.OVER:
                client.disconnect()
        self._wake()

    def _build(self) -> paho.Client:
        options, address = self._options, self.address
        five = options.protocol == 5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if five else False,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            transport="websockets" if address.websocket else "tcp",
            reconnect_on_failure=False,
        )
        client.connect_timeout = options.connect_timeout_s
        client.max_inflight_messages_set(options.in_flight)
        client.max_queued_messages_set(options.in_flight)
        if options.username is not None:
            client.username_pw_set(options.username, options.password)
        if address.tls:
            client.tls_set_context(tls_context(options))
        if address.websocket:
            client.ws_set_options(path=address.path)
        client.will_set(
            self._will.topic,
            self._will.payload,
            qos=1,
            retain=True,
            properties=_will_properties(options) if five else None,
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_socket_open = _set_nodelay
        if five:
            client.connect_async(
                address.host,
                address.port,
                options.keepalive_s,
                clean_start=False,
                properties=_connect_properties(options),
            )
        else:
            client.connect_async(address.host, address.port, options.keepalive_s)
        return client

    # from here on: paho's callbacks, all within pump or publish on the owner's thread

    def _on_connect(self, _client: Any, _userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            self._lose(f"refused: {reason.getName()} ({reason.value})", reason.value)
            return
        self._state = _State.CONNECTED
        self._events.put(
            Connected(
                session_present=bool(flags.session_present),
                receive_maximum=int(getattr(properties, "ReceiveMaximum", 65_535)),
                max_packet_bytes=getattr(properties, "MaximumPacketSize", None),
                retain_available=bool(getattr(properties, "RetainAvailable", 1)),
            )
        )

    def _on_disconnect(self, _client: Any, _userdata: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._lose(f"closed by the broker: {reason.getName()} ({reason.value})", reason.value)
        elif self.connected:
            # What mosquitto 2.0.11 does on a message over its message_size_limit reaches us as a protocol error.
            code = PROTOCOL_ERROR if reason.value == PROTOCOL_ERROR else None
            self._lose(f"connection lost ({reason.getName()})", code)
        else:
            hint = "; a client certificate that is refused looks like this too" if self._options.cert_file else ""
            self._lose(f"closed before CONNACK{hint}", None)

    def _on_publish(self, _client: Any, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        self._events.put(Published(mid=mid, code=reason.value, reason=reason.getName()))

    def _on_subscribe(
        self, _client: Any, _userdata: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self._events.put(Subscribed(mid=mid, codes=tuple(reason.value for reason in reasons)))

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        self._events.put(Received(topic=message.topic, payload=bytes(message.payload), retained=bool(message.retain)))

    # from here on: small parts

    def _lose(self, reason: str, code: int | None) -> None:
        # paho tells of one loss more than once: a refused CONNACK is followed by a disconnect.
        if self._state is not _State.OVER:
            self._state = _State.OVER
            self._events.put(Lost(reason=f"{self.address.text}: {reason}", code=code))

    def _publish_properties(self, content_type: str | None, expiry_s: int | None) -> Properties | None:
        if self._options.protocol != 5:
            return None
        key = (content_type, expiry_s)
        if key not in self._properties:
            properties = _properties(PacketTypes.PUBLISH)
            if content_type is not None:
                properties.ContentType = content_type
                properties.PayloadFormatIndicator = 1
            if expiry_s is not None:
                properties.MessageExpiryInterval = expiry_s
            self._properties[key] = properties
        return self._properties[key]


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _connect_properties(options: MqttOptions) -> Properties:
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = options.session_expiry_s
    properties.MaximumPacketSize = RECEIVE_BYTES_MAX
    return properties


def _will_properties(options: MqttOptions) -> Properties:
    properties = _properties(PacketTypes.WILLMESSAGE)
    properties.WillDelayInterval = options.will_delay_s
    properties.ContentType = "application/json"
    properties.PayloadFormatIndicator = 1
    return properties


def _set_nodelay(_client: Any, _userdata: Any, stream: Any) -> None:
    # A websocket wrapper has no setsockopt of its own; it hides the stream.
    inner = getattr(stream, "_socket", stream)
    with contextlib.suppress(OSError):
        inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
