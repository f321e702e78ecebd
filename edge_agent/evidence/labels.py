"""What people say of a sample, and what it amounts to. Pure.

A label is an event that is never changed. Undoing one is another event, which names it; a person's word is the last of
their labels that was not undone. From everybody's words:

    nobody spoke                                    -> UNLABELLED   (an imported label then counts: LABELLED)
    an adjudicator spoke                            -> LABELLED     their word, whatever the others say
    more than half say the same, enough of them do  -> LABELLED
    all say the same, too few                       -> WAITING      for a second opinion
    anything else                                   -> DISPUTED     until a third person or an adjudicator speaks
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from edge_agent.config.faults import nearest
from edge_agent.errors import BadLabelError
from edge_agent.records import Standing

MOST_CLASS_CHARACTERS = 64
MOST_PERSON_CHARACTERS = 64
MOST_NOTE_CHARACTERS = 500
LIST_CLASSES = 20


class LabelSource(str, enum.Enum):
    """Where a label was given."""

    TERMINAL = "terminal"
    MQTT = "mqtt"
    PAGE = "page"
    IMPORT = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelEvent:
    """One thing that one person said of one sample: `label`, or (exactly one of the two) that an earlier word of
    theirs is withdrawn. `id` is a ULID; `withdraws` is the id of the event that is taken back.
    """

    id: str
    sample: str
    by: str
    source: LabelSource
    at_utc_s: float
    label: str | None = None
    withdraws: str | None = None
    adjudicator: bool = False
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a sample's events amount to. `words`: who says what today; `truth` is set exactly when LABELLED."""

    standing: Standing
    truth: str | None
    words: Mapping[str, str]


def opinion(events: Iterable[LabelEvent], people_needed: int) -> Opinion:
    """The fold of one sample's events, oldest first; `people_needed` people must agree."""
    events = tuple(events)
    undone = {event.withdraws for event in events}
    spoken = [event for event in events if event.label is not None and event.id not in undone]
    people = {event.by: event.label or "" for event in spoken if event.source is not LabelSource.IMPORT}
    # A list is made before anybody looked at the picture here: it counts until somebody does.
    words = people or {event.by: event.label or "" for event in spoken[-1:]}
    judges = [event for event in spoken if event.adjudicator]
    standing, truth = _standing(words, people_needed if people else 1, judges[-1].label if judges else None)
    return Opinion(standing=standing, truth=truth, words=words)


def _standing(words: Mapping[str, str], needed: int, decided: str | None) -> tuple[Standing, str | None]:
    if not words:
        return Standing.UNLABELLED, None
    if decided is not None:
        return Standing.LABELLED, decided
    (first, votes), *_ = Counter(words.values()).most_common(1)
    if votes >= needed and 2 * votes > len(words):
        return Standing.LABELLED, first
    return (Standing.WAITING if votes == len(words) else Standing.DISPUTED), None


def last_word(events: Iterable[LabelEvent], by: str) -> LabelEvent | None:
    """What `by` would undo: their last label that still counts."""
    events = tuple(events)
    undone = {event.withdraws for event in events}
    own = [event for event in events if event.by == by and event.label is not None and event.id not in undone]
    return own[-1] if own else None


def check_class(label: str, known: Collection[str], *, new_class: bool) -> None:
    """Whether a label may be given.

    Raises:
        BadLabelError: it cannot be a class, or is not one yet and nobody said that it shall be.
    """
    if not label or label != label.strip() or len(label) > MOST_CLASS_CHARACTERS or not label.isprintable():
        raise BadLabelError(
            f"class {label!r}: expected 1 to {MOST_CLASS_CHARACTERS} printable characters without spaces around them"
        )
    if label in known or new_class:
        return
    close = nearest(label, known)
    shown = ", ".join(sorted(known)[:LIST_CLASSES]) or "none yet"
    more = f" and {len(known) - LIST_CLASSES} more" if len(known) > LIST_CLASSES else ""
    hint = f"did you mean {close!r}? " if close else ""
    raise BadLabelError(f"unknown class {label!r}; {hint}known: {shown}{more}; --new-class makes it one")


def check_person(by: str, note: str | None) -> None:
    """Whether a name and a note may stand in the book.

    Raises:
        BadLabelError.
    """
    if not by or by != by.strip() or len(by) > MOST_PERSON_CHARACTERS or not by.isprintable():
        raise BadLabelError(f"name {by!r}: expected 1 to {MOST_PERSON_CHARACTERS} printable characters; give --by NAME")
    if note is not None and len(note) > MOST_NOTE_CHARACTERS:
        raise BadLabelError(f"a note of {len(note)} characters, expected at most {MOST_NOTE_CHARACTERS}")
