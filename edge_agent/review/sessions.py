"""Who is logged in. Kept in memory only: a restart logs everybody out, and no file holds what a thief could use."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from edge_agent.clock import Clock
from edge_agent.review.people import Person

MOST_SESSIONS = 256


@dataclass(slots=True, kw_only=True)
class Session:
    """One person in one browser. `form_token` must come with every form; `choices` keeps each task's classes where
    they were, so that a key means the same all shift long; `said` is what the next page tells.
    """

    person: Person
    form_token: str
    ends_mono_s: float
    idle_mono_s: float
    done: int = 0
    skipped: set[str] = field(default_factory=set)
    choices: dict[str, list[str]] = field(default_factory=dict)
    said: str = ""

    def is_form_of(self, token: str) -> bool:
        """Whether a form with this token came from a page of this session."""
        return hmac.compare_digest(token.encode(), self.form_token.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long a session lasts at most, and without a request."""

    session_s: float
    idle_s: float


class Sessions:
    """Sessions by the secret in the browser's cookie."""

    def __init__(self, lifetime: Lifetime, clock: Clock) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def begin(self, person: Person) -> tuple[str, Session]:
        """A new session, and the secret that names it."""
        self._drop_old()
        now_s = self._clock.mono_s()
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        secret = secrets.token_urlsafe(32)
        session = Session(
            person=person,
            form_token=secrets.token_urlsafe(32),
            ends_mono_s=now_s + self._lifetime.session_s,
            idle_mono_s=now_s + self._lifetime.idle_s,
        )
        self._sessions[secret] = session
        return secret, session

    def find(self, secret: str, *, touch: bool = True) -> Session | None:
        """The session of this secret, if it still lasts; without `touch` it counts as no request of the person."""
        self._drop_old()
        session = self._sessions.get(secret)
        if session is not None and touch:
            session.idle_mono_s = self._clock.mono_s() + self._lifetime.idle_s
        return session

    def end(self, secret: str) -> None:
        """Log out."""
        self._sessions.pop(secret, None)

    def _drop_old(self) -> None:
        now_s = self._clock.mono_s()
        for secret in [one for one, session in self._sessions.items() if _is_over(session, now_s)]:
            del self._sessions[secret]


def _is_over(session: Session, now_s: float) -> bool:
    return now_s >= min(session.ends_mono_s, session.idle_mono_s)
