"""Credentials in addresses, hidden before anything is printed."""

from __future__ import annotations

import re

HIDDEN = "**********"

# user:password@ or token@ after the scheme; greedy up to the last @ before the path, since passwords may hold an @.
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"(?i)([?&](?:password|passwd|pwd|token|secret|key|auth)=)[^&#\s]*")


def redact(text: str) -> str:
    """The text with the credentials of any address in it hidden: `rtsp://**********@10.0.0.12/stream1`."""
    return _QUERY.sub(rf"\1{HIDDEN}", _CREDENTIALS.sub(f"{HIDDEN}@", text))
