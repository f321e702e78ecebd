"""A real OPC UA server (asyncua) in a process of its own, with the nodes that the line shows verdicts in.

    with OpcUaServer() as server:
        server.values("words")           {"verdict": "PASS", "sequence": 3, ...} as a client of its own reads them
        server.stop(), server.go(), server.kill(), server.start()

Its nodes are `ns=2;s=GROUP.NAME` for each group of GROUPS; some of those lack a node or hold something odd. `security`
wants Basic256Sha256 and a user. It takes seconds to start: tests share one.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.fakes.plc import free_port
from tests.waiting import until

_WORDS = {
    "verdict": "String",
    "sequence": "UInt32",
    "heartbeat": "UInt32",
    "state": "String",
    "reason": "String",
    "part": "String",
}
_CODES = {"verdict": "Byte", "sequence": "UInt16", "heartbeat": "UInt16", "state": "Byte", "reason": "Int16"}
GROUPS = {
    "words": _WORDS,
    "codes": {**_CODES, "part": "String"},
    "partless": {name: kind for name, kind in _WORDS.items() if name != "part"},
    "boolean": {**_WORDS, "verdict": "Boolean"},
    "byte": {**_WORDS, "sequence": "Byte"},
}
FIRST = {"String": "", "Boolean": False}
USER, PASSWORD = "edge", "right"


class OpcUaServer:
    def __init__(self, security=None):
        self.port = free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}"
        self._words = json.dumps({"port": self.port, "security": security})
        self._child = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self._child is not None:
            self.go()
            self.kill()

    def start(self):
        command = [sys.executable, "-m", "tests.fakes.opcua_server", self._words]
        self._child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until(self._answers, 30)
        return self

    def _answers(self):
        assert self._child.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
            return True
        return False

    def kill(self):
        self._child.kill()
        self._child.wait()
        self._child = None

    def stop(self):
        os.kill(self._child.pid, signal.SIGSTOP)

    def go(self):
        os.kill(self._child.pid, signal.SIGCONT)

    def values(self, group):
        """What the nodes hold, read over the network by a client that is none of ours."""
        return asyncio.run(self._read(group))

    async def _read(self, group):
        from asyncua import Client

        async with Client(self.url, timeout=5) as client:
            return {name: await client.get_node(f"ns=2;s={group}.{name}").read_value() for name in GROUPS[group]}


async def serve(port, security):
    from asyncua import Server, ua
    from asyncua.crypto.permission_rules import User, UserRole
    from asyncua.server.user_managers import UserManager

    class Doorman(UserManager):
        def get_user(self, iserver, username=None, password=None, certificate=None):
            return User(role=UserRole.User) if (username, password) == (USER, PASSWORD) else None

    server = Server(user_manager=Doorman() if security else None)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    if security:
        await server.load_certificate(security["cert"])
        await server.load_private_key(security["key"])
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        server.set_identity_tokens([ua.UserNameIdentityToken])
    for group, types in GROUPS.items():
        for name, kind in types.items():
            variant, node_id = getattr(ua.VariantType, kind), ua.NodeId(f"{group}.{name}", 2)
            node = await server.nodes.objects.add_variable(node_id, name, FIRST.get(kind, 0), varianttype=variant)
            await node.set_writable()
    async with server:
        await asyncio.Event().wait()


def certificate(folder, name, uri="urn:acme:gw-07"):
    """A self-signed certificate and its key: (certificate file, key file)."""
    cert, key = Path(folder) / f"{name}.pem", Path(folder) / f"{name}-key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    extension = ["-addext", f"subjectAltName=URI:{uri},DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *extension, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


if __name__ == "__main__":
    words = json.loads(sys.argv[1])
    asyncio.run(serve(words["port"], words["security"]))
