"""GStreamer pipelines as text: what we add to one, what fills a template, which elements it names. Pure.

The grammar is gst-launch's: elements and links separated by `!`, values may stand in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from edge_agent.errors import ConfigError

# Newest wins: a frame that was not fetched yet makes way for the next one. No wait for the pipeline's clock: a frame is
# judged when it is there.
OUR_END = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_ELEMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")


def complete(text: str) -> str:
    """The pipeline with our end, unless it has an appsink of its own."""
    text = text.strip()
    return text if "appsink" in elements(text) else f"{text.rstrip('! ')} ! {OUR_END}"


def fault_in(text: str) -> str | None:
    """What is wrong with a pipeline's links and quotes, and where; None when nothing is. GStreamer itself only says
    `syntax error`; whether its elements exist and fit is known when it is played.
    """
    bare = _QUOTED.sub(lambda match: "q" * len(match[0]), text)
    open_quote = re.search("[\"']", bare)
    if open_quote is not None:
        return f"the quote at character {open_quote.start() + 1} is not closed"
    if not text.strip():
        return "the pipeline is empty"
    position = 0
    for link in bare.split("!")[:-1]:
        position += len(link) + 1
        if not link.strip():
            return f"there is no element before the `!` at character {position}"
    return None


def elements(text: str) -> tuple[str, ...]:
    """Names of the elements in order. Caps (`video/x-raw,...`) and references to pads (`t.`) are none."""
    return tuple(_elements(text))


def _elements(text: str) -> Iterator[str]:
    for link in _QUOTED.sub('""', text).split("!"):
        for word in link.replace("(", " ").replace(")", " ").split():
            if _ELEMENT.fullmatch(word) is not None:
                yield word


def fill(template: str, values: Mapping[str, object]) -> str:
    """The template with its placeholders `{name}` replaced; texts are quoted, numbers are not.

    Raises:
        ConfigError: it asks for something that is not among `values`.
    """

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ConfigError(f"pipeline asks for {{{match[1]}}}, there is: {', '.join(sorted(values))}")
        value = values[match[1]]
        return quoted(value) if isinstance(value, str) else str(value)

    return _PLACEHOLDER.sub(value_of, template)


def quoted(text: str) -> str:
    """A text as one value of a pipeline, whatever is in it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
