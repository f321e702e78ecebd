"""Validity and common name of a PEM certificate. The standard library reads neither from a client's own file.

Certificate ::= SEQUENCE { TBSCertificate, ... }
TBSCertificate ::= SEQUENCE { [0] version, serial, algorithm, issuer, validity, subject, ... }   RFC 5280, 4.1
"""

from __future__ import annotations

import datetime
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

_UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x17, 0x18, 0xA0
_COMMON_NAME = bytes.fromhex("0603550403")  # OBJECT IDENTIFIER 2.5.4.3
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Seconds since 1970 UTC; `common_name` None when the subject has none."""

    not_before_utc_s: float
    not_after_utc_s: float
    common_name: str | None


def read_certificate(text: str) -> Certificate:
    """The first certificate of a PEM text.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    found = _PEM.search(text)
    if found is None:
        raise ValueError("no certificate in it, expected -----BEGIN CERTIFICATE-----")
    return from_der(ssl.PEM_cert_to_DER_cert(found[0]))


def from_der(content: bytes) -> Certificate:
    """A certificate of a peer, as ssl gives it.

    Raises:
        ValueError: it cannot be read.
    """
    outer = next(_elements(content))[1]
    fields = [element for element in _elements(next(_elements(outer))[1]) if element[0] != _VERSION]
    if len(fields) < 5:
        raise ValueError(f"certificate with {len(fields)} fields, expected at least 5")
    validity, subject = fields[3][1], fields[4][1]
    begin, end = (_moment(tag, value) for tag, value in _elements(validity))
    return Certificate(not_before_utc_s=begin, not_after_utc_s=end, common_name=_common_name(subject))


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The DER elements one after another: (tag, value)."""
    position = 0
    while position + 2 <= len(content):
        tag, length, position = content[position], content[position + 1], position + 2
        if length >= 0x80:
            count = length & 0x7F
            length, position = int.from_bytes(content[position : position + count], "big"), position + count
        if position + length > len(content):
            raise ValueError(f"element of {length} bytes, {len(content) - position} are left")
        yield tag, content[position : position + length]
        position += length


def _moment(tag: int, value: bytes) -> float:
    form = {_UTC_TIME: "%y%m%d%H%M%S%z", _GENERALIZED_TIME: "%Y%m%d%H%M%S%z"}.get(tag)
    if form is None:
        raise ValueError(f"time with tag {tag:#x}")
    # RFC 5280, 4.1.2.5: always UTC, always written with Z.
    return datetime.datetime.strptime(value.decode("ascii"), form).timestamp()  # noqa: DTZ007 - %z is in form


def _common_name(subject: bytes) -> str | None:
    start = subject.rfind(_COMMON_NAME)
    if start < 0:
        return None
    return next(_elements(subject[start + len(_COMMON_NAME) :]))[1].decode("utf-8", errors="replace")
