"""Passwords as they are kept: scrypt (RFC 7914) with a salt of their own. Pure, but for the salt that is handed in."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from edge_agent.errors import RefusedError

# OWASP's password storage sheet (2023): N = 2^15, r = 8, p = 3; 32 MiB and 0.2 s on a gateway's core.
COST, BLOCK, PARALLEL = 1 << 15, 8, 3
MOST_MEMORY_BYTES = 64 * 1024 * 1024
SALT_BYTES = 16
LEAST_CHARACTERS, MOST_CHARACTERS = 10, 256


class BadPasswordError(RefusedError):
    """A password that cannot be one here."""


def check_password(password: str) -> None:
    """Whether it may be a password.

    Raises:
        BadPasswordError: too short, too long.
    """
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise BadPasswordError(
            f"a password of {len(password)} characters, expected {LEAST_CHARACTERS} to {MOST_CHARACTERS}; "
            "four words that do not belong together are a good one"
        )


def hashed(password: str, salt: bytes) -> str:
    """What is kept of a password: `scrypt$N$r$p$salt$key`, the last two in base64."""
    key = _derive(password, salt, COST, BLOCK, PARALLEL)
    words = ("scrypt", str(COST), str(BLOCK), str(PARALLEL), _text(salt), _text(key))
    return "$".join(words)


def matches(password: str, kept: str) -> bool:
    """Whether this is the password that `kept` was made of; False as well where `kept` is nothing of ours."""
    try:
        kind, cost, block, parallel, salt, key = kept.split("$")
        if kind != "scrypt" or len(password) > MOST_CHARACTERS:
            return False
        found = _derive(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
        return hmac.compare_digest(found, base64.b64decode(key))
    except (ValueError, binascii.Error):
        return False


def _derive(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=MOST_MEMORY_BYTES, dklen=32)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
