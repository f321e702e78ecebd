"""A small server of byte streams, TCP or unix: one thread, a session for each who connects.

The sessions hold the protocol and no socket: bytes in, bytes out. Who talks nonsense or does not read what it is sent
is disconnected; the others notice nothing.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.errors import LineError
from edge_agent.line.backoff import backoff_s

log = logging.getLogger(__name__)

# A line has a PLC, a panel and a laptop; who opens connections without end must not use up our files.
MOST_CLIENTS = 16
RECEIVE_BYTES = 4096


class Session(Protocol):
    """One connection's protocol."""

    def receive(self, content: bytes) -> bytes:
        """The answer to what came; empty while it is not whole.

        Raises:
            LineError: end the connection.
        """


class _Stop:
    """Ends the server's thread, whether it waits or selects."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._ours, self.woken = socket.socketpair()

    def set(self) -> None:
        self.event.set()
        self._ours.send(b"\0")

    def close(self) -> None:
        self._ours.close()
        self.woken.close()


class StreamServer:
    """Serves until `close`. `listen` makes the socket, bound and listening; while it raises LineError (another program
    has the port) it is tried again, and `fault` says why. `note(active, text)` hears of that fault and of its end.
    """

    def __init__(
        self,
        listen: Callable[[], socket.socket],
        make_session: Callable[[], Session],
        *,
        name: str,
        clock: Clock,
        note: Callable[[bool, str], None],
    ) -> None:
        self.fault: str | None = "not listening yet"
        self._listen = listen
        self._make_session = make_session
        self._name = name
        self._clock = clock
        self._note = note
        self._stop = _Stop()
        self._selector = selectors.DefaultSelector()
        self._sessions: dict[socket.socket, Session] = {}
        self._lock = threading.Lock()  # the sessions, and who writes to a client
        self._thread = threading.Thread(target=self._run, name=f"server-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._sessions)

    def send_all(self, content: bytes) -> int:
        """Send to everyone who is connected, without waiting for anyone; returns how many took it."""
        with self._lock:
            return sum(self._send(client, content) for client in tuple(self._sessions))

    def close(self) -> None:
        """Disconnect everyone and take nobody else."""
        self._stop.set()
        self._thread.join()
        self._stop.close()

    def _run(self) -> None:
        listener = self._bind()
        try:
            while listener is not None and not self._stop.event.is_set():
                for key, _ in self._selector.select():
                    if key.fileobj is listener:
                        self._accept(listener)
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj is not self._stop.woken:
                        self._serve(key.fileobj)
        finally:
            for client in tuple(self._sessions):
                self._drop(client)
            if listener is not None:
                listener.close()
            self._selector.close()

    def _bind(self) -> socket.socket | None:
        """The listening socket, as soon as it can be had; None when closed before."""
        failures = 0
        while not self._stop.event.is_set():
            try:
                listener = self._listen()
            except LineError as error:
                failures += 1
                self.fault = str(error)
                self._note(True, self.fault)
                self._clock.wait(self._stop.event, backoff_s(failures))
                continue
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
            self._selector.register(self._stop.woken, selectors.EVENT_READ)
            self.fault = None
            self._note(False, "listening")
            return listener
        return None

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:  # it went away meanwhile, or we are out of files
            log.warning("server=%s event=accept-failed reason=%s", self._name, error)
            return
        if len(self._sessions) >= MOST_CLIENTS:
            # A PLC that lost its power leaves its connection behind, and must not be kept out by it.
            log.warning("server=%s client=%s event=full reason=the most silent client has to go", self._name, address)
            self._drop(next(iter(self._sessions)))
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sessions[client] = self._make_session()
        self._selector.register(client, selectors.EVENT_READ)

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            session = self._sessions.pop(client, None)
            if session is not None:
                self._sessions[client] = session  # to the end: the most silent one stands first
        try:
            content = client.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            content = b""
        if not content or session is None:
            self._drop(client)
            return
        try:
            answer = session.receive(content)
        except LineError as error:
            log.warning("server=%s event=disconnected reason=%s", self._name, error)
            self._drop(client)
            return
        if answer:
            with self._lock:
                sent = self._send(client, answer)
            if not sent:
                self._drop(client)

    def _send(self, client: socket.socket, content: bytes) -> bool:
        """Whether all of it went; a client whose buffer is full is shut down, and dropped by the server's thread."""
        try:
            sent = client.send(content)
        except OSError:
            sent = 0
        if sent != len(content):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            return False
        return True

    def _drop(self, client: socket.socket) -> None:
        with self._lock:
            if self._sessions.pop(client, None) is None:
                return
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(client)
            client.close()
