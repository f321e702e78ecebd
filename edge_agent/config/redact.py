"""Credentials in addresses, hidden before anything is printed."""

from __future__ import annotations

import re

HIDDEN = "***"

# Greedy on purpose: a password may hold "/" or "@"; an "@" in a path costs a readable host, never a secret.
_CREDENTIALS = re.compile(r"(?<=://)\S*@")
# Some cameras want them in the path: rtsp://host/user=admin_password=x_channel=1.
_OPTIONS = re.compile(r"(?i)(?<=[?&/_;])(user|username|usr|password|passwd|pwd|pass|token|secret|key|auth)=[^&#\s]*")

# Properties of GStreamer elements (rtspsrc, souphttpsrc, srtsrc): `user-pw="a b"`. A quote that is not closed hides the
# rest.
_PROPERTIES = re.compile(
    r"""(?ix) (?:^|(?<=[\s"'(]))
    (user-id|user-pw|proxy-id|proxy-pw|username|user|password|passwd|passphrase|token|secret|cookies|extra-headers)
    \s*=\s* (?: "(?:[^"\\]|\\.)*"? | '(?:[^'\\]|\\.)*'? | (?:[^\s\\]|\\.)+ )"""
)


def redact(text: str) -> str:
    """The text with the credentials of any address in it hidden: `rtsp://***@10.0.0.12/stream1`."""
    return _PROPERTIES.sub(rf"\1={HIDDEN}", _OPTIONS.sub(rf"\1={HIDDEN}", _CREDENTIALS.sub(f"{HIDDEN}@", text)))
