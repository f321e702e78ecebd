"""SOAP 1.2 envelopes to and from cameras (onvif.org, Core Specification). Pure.

Whoever answers is not trusted: length first, no declarations (so no entities), then names without their namespaces,
because cameras get those wrong.
"""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from edge_agent.clock import rfc3339
from edge_agent.errors import CameraError

# Answers to our questions have 1 to 4 KB.
MOST_ANSWER_BYTES = 64 * 1024
MOST_TEXT_CHARS = 128

_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_PASSWORD = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"  # noqa: S105 - a name
_BASE64 = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who asks, for one envelope: `nonce` is used once, `utc_s` is the time by the camera's own clock."""

    username: str
    password: str = field(repr=False)
    nonce: bytes
    utc_s: float


def envelope(body: str, *, header: str = "") -> bytes:
    """The bytes of a request. `body` and `header` are XML."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{_SOAP}">'
        f"<s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def security(login: Login) -> str:
    """A UsernameToken whose password is a digest (WS-Security UsernameToken Profile 1.0, section 3.1):
    Base64(SHA-1(nonce + created + password)).
    """
    created = rfc3339(login.utc_s)
    # SHA-1 is what the profile prescribes.
    digest = hashlib.sha1(login.nonce + created.encode() + login.password.encode(), usedforsecurity=False).digest()
    return (
        f'<w:Security xmlns:w="{_WSSE}" xmlns:u="{_WSU}" s:mustUnderstand="1"><w:UsernameToken>'
        f"<w:Username>{escape(login.username)}</w:Username>"
        f'<w:Password Type="{_PASSWORD}">{base64.b64encode(digest).decode()}</w:Password>'
        f'<w:Nonce EncodingType="{_BASE64}">{base64.b64encode(login.nonce).decode()}</w:Nonce>'
        f"<u:Created>{created}</u:Created></w:UsernameToken></w:Security>"
    )


def parse(content: bytes) -> Element:
    """The root of an answer.

    Raises:
        CameraError: too long, no UTF-8, no XML, or XML with declarations.
    """
    if len(content) > MOST_ANSWER_BYTES:
        raise CameraError(f"an answer of more than {MOST_ANSWER_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CameraError(f"an answer that is no UTF-8 ({error.reason})") from error
    if "<!" in text:  # a DTD, where entities come from; no SOAP message may hold one (SOAP 1.2, section 5)
        raise CameraError("an answer with declarations (<!), which SOAP forbids")
    try:
        return ET.fromstring(text)  # noqa: S314 - short, and without declarations there is nothing to expand
    except ET.ParseError as error:
        raise CameraError(f"an answer that is no XML ({error})") from error


def named(root: Element, name: str) -> Iterator[Element]:
    """The elements of this name, whatever their namespace, in document order."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def text_of(root: Element, name: str) -> str | None:
    """The text of the first element of this name, printable and short; None where there is none."""
    words = words_of(root, name)
    return None if words is None else printable(words)


def words_of(root: Element, name: str) -> str | None:
    """The text of the first element of this name as it came; None where there is none."""
    element = next(named(root, name), None)
    return None if element is None else element.text


def printable(words: str) -> str | None:
    """What can be shown of it, cut to a line; None where nothing is left."""
    return "".join(letter for letter in words if letter.isprintable()).strip()[:MOST_TEXT_CHARS] or None


def fault(root: Element) -> str | None:
    """What a SOAP fault says, its codes last; None where the answer is none. SOAP 1.1's form is read too."""
    found = next(named(root, "Fault"), None)
    if found is None:
        return None
    reason = text_of(found, "Text") or text_of(found, "faultstring") or "no reason given"
    codes = [(code.text or "").strip()[:MOST_TEXT_CHARS] for code in named(found, "Value")]
    return f"{reason} ({', '.join(codes)})" if codes else reason
