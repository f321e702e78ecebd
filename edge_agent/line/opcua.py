"""Outputs as nodes of an OPC UA server: the only place that knows the package `asyncua`.

asyncio lives in the signal's own thread: its loop turns while something is written, a few times a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography import x509

from edge_agent.errors import LineError
from edge_agent.line.addresses import OpcUaSignal
from edge_agent.line.login import Login
from edge_agent.line.signals import VERDICT_CODES, Output, fields

T = TypeVar("T")
# We say ourselves what went wrong; the package logs every lost connection with a trace.
logging.getLogger("asyncua").setLevel(logging.CRITICAL)

_SMALL = {ua.VariantType.SByte, ua.VariantType.Byte, ua.VariantType.Int16}
_LARGE = {
    ua.VariantType.UInt16,
    ua.VariantType.Int32,
    ua.VariantType.UInt32,
    ua.VariantType.Int64,
    ua.VariantType.UInt64,
}
_TEXT = {ua.VariantType.String}
# What each node may be: a code fits into a byte, a counter needs sixteen bits without a sign.
NODE_TYPES = {
    "verdict": _SMALL | _LARGE | _TEXT,
    "sequence": _LARGE,
    "heartbeat": _LARGE,
    "state": _SMALL | _LARGE | _TEXT,
    "reason": _SMALL | _LARGE | _TEXT,
    "part": _TEXT,
}
APPLICATION_URI = "urn:edge-agent"
# The network, the server's refusal, files of certificates that are none.
FAULTS = (OSError, asyncio.TimeoutError, ua.UaError, ValueError)
_MODES = {"sign": ua.MessageSecurityMode.Sign, "sign-and-encrypt": ua.MessageSecurityMode.SignAndEncrypt}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A node to write, and what it holds."""

    name: str
    id: Any
    type: Any


class OpcUaPort:
    """Writes the nodes of all given cameras in one request. After a fault the connection is made anew."""

    def __init__(self, address: OpcUaSignal, login: Login) -> None:
        self._address = address
        self._login = login
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._nodes: dict[str, tuple[_Node, ...]] = {}
        self._sound = False

    def write(self, outputs: Mapping[str, Output]) -> None:
        """Show these outputs.

        Raises:
            LineError: no server, or it refuses; a node is missing or of another type than expected.
        """
        try:
            self._turn(self._write(outputs), self._address.timeout_s * 4)
        except FAULTS as error:
            self._sound = False
            raise LineError(f"{self._address.url}: {_words(error)}") from error
        except LineError:
            self._sound = False
            raise

    def probe(self, cameras: tuple[str, ...]) -> int:
        """How many nodes there are to write; nothing is written.

        Raises:
            LineError: as `write`.
        """

        async def find() -> int:
            self._client = await self._connect()
            self._sound = True
            return sum([len(await self._find(camera)) for camera in cameras])

        try:
            return self._turn(find(), self._address.timeout_s * 4)
        except FAULTS as error:
            self._sound = False
            raise LineError(f"{self._address.url}: {_words(error)}") from error

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None:
            return
        client, self._client = self._client, None
        self._nodes = {}
        try:
            loop.run_until_complete(_leave(client, self._address.timeout_s, polite=self._sound))
        finally:
            loop.close()

    def _turn(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(asyncio.wait_for(work, timeout_s))

    async def _write(self, outputs: Mapping[str, Output]) -> None:
        if self._client is None:
            self._client = await self._connect()
        nodes, values = [], []
        for camera, output in outputs.items():
            if camera not in self._nodes:
                self._nodes[camera] = await self._find(camera)
            for node in self._nodes[camera]:
                nodes.append(node)
                values.append(ua.DataValue(ua.Variant(value_of(camera, output, node.name, node.type), node.type)))
        ids = [node.id for node in nodes]
        results = await self._client.uaclient.write_attributes(ids, values, ua.AttributeIds.Value)
        for node, result in zip(nodes, results, strict=True):
            if not result.is_good():
                raise LineError(f"{self._address.url}: writing {node.id.to_string()}: {result.name}")
        self._sound = True

    async def _connect(self) -> Any:
        client = Client(self._address.url, timeout=self._address.timeout_s)
        client.name = client.description = "Edge Agent"
        client.application_uri = APPLICATION_URI
        login = self._login
        if login.security != "none":
            client.application_uri = uri_of(login.cert_file)
            await client.set_security(
                SecurityPolicyBasic256Sha256,
                certificate=str(login.cert_file),
                private_key=str(login.key_file),
                server_certificate=None if login.server_cert_file is None else str(login.server_cert_file),
                mode=_MODES[login.security],
            )
        if login.username is not None:
            client.set_user(login.username)
            client.set_password(login.password or "")
        await client.connect()
        return client

    async def _find(self, camera: str) -> tuple[_Node, ...]:
        """The nodes of one camera, each looked at once per connection.

        Raises:
            LineError: one is missing or holds something else.
        """
        found = []
        for name, allowed in NODE_TYPES.items():
            text = self._address.node.replace("*", name).replace("{camera}", camera)
            node = self._client.get_node(text)
            try:
                kind = await node.read_data_type_as_variant_type()
            except ua.UaStatusCodeError as error:
                raise LineError(f"{self._address.url}: node {text}: {_words(error)}") from error
            if kind not in allowed:
                expected = ", ".join(sorted(one.name for one in allowed))
                raise LineError(f"{self._address.url}: node {text} is {kind.name}, expected one of {expected}")
            found.append(_Node(name=name, id=node.nodeid, type=kind))
        return tuple(found)


def value_of(camera: str, output: Output, name: str, kind: Any) -> int | str:
    """What a node of this type shows: a word where it holds text, else a code or a count."""
    if kind is ua.VariantType.String:
        return str(fields(camera, output)[name])
    codes = {
        "verdict": VERDICT_CODES[output.verdict],
        "sequence": output.sequence,
        "heartbeat": output.heartbeat,
        "state": int(output.state),
        "reason": output.reason,
    }
    return codes[name]


def uri_of(cert_file: Path | None) -> str:
    """The application URI that a certificate names: a server compares it with the one we say (OPC UA part 4, 6.1.3).

    Raises:
        OSError, ValueError: no file, or no certificate in it.
    """
    content = b"" if cert_file is None else cert_file.read_bytes()
    pem = content.lstrip().startswith(b"-----")
    certificate = x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return APPLICATION_URI
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return str(uris[0]) if uris else APPLICATION_URI


async def _leave(client: Any, timeout_s: float, *, polite: bool) -> None:
    """Close the session where the server still answers, else just the socket; leave no task behind."""
    if client is not None and polite:
        try:
            await asyncio.wait_for(client.disconnect(), timeout_s)
        except FAULTS:
            client.disconnect_socket()
    elif client is not None:
        client.disconnect_socket()
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _words(error: Exception) -> str:
    return "no answer in time" if isinstance(error, asyncio.TimeoutError) else str(error) or type(error).__name__
