"""The kinds of text that keys take: names, levels of topics, words of the line, addresses."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainSerializer, StringConstraints
from pydantic.json_schema import WithJsonSchema

from edge_agent.config.redact import redact

NAME_PATTERN = r"^[a-z0-9-]{1,32}$"
NAME = "1 to 32 of a-z, 0-9 and -"
Name = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN),
    WithJsonSchema({"type": "string", "pattern": NAME_PATTERN, "x-expected": NAME}),
]
# A level of an MQTT topic that no broker and no ACL pattern misreads: no / + # $, no spaces.
LEVEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
LEVEL = "1 to 64 letters, digits, _ . or - (it becomes a level of every topic)"
Level = Annotated[
    str,
    StringConstraints(pattern=LEVEL_PATTERN),
    WithJsonSchema({"type": "string", "pattern": LEVEL_PATTERN, "x-expected": LEVEL}),
]
# A word of the plant's own: a recipe as it comes with a trigger, a class as people say it.
WORD_PATTERN = r"^[^\x00-\x1f\x7f]{1,64}$"
Word = Annotated[
    str,
    StringConstraints(pattern=WORD_PATTERN),
    WithJsonSchema({"type": "string", "pattern": WORD_PATTERN, "x-expected": "1 to 64 characters"}),
]
# An address that may hold credentials: never printed with them.
Address = Annotated[str, PlainSerializer(redact, when_used="json")]
