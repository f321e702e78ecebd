"""Who is speaking: the name that is written beside a label. Not a verb."""

from __future__ import annotations

import os
import pwd

from edge_agent.errors import BadLabelError


def person(given: str | None) -> str:
    """The name given, else that of the user; behind sudo the one who called it.

    Raises:
        BadLabelError: nobody has a name here.
    """
    name = given or os.environ.get("SUDO_USER") or os.environ.get("USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError as error:
        raise BadLabelError(f"user {os.getuid()} has no name here: say who you are with --by NAME") from error
