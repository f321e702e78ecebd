"""Who may use it: STATE/review-users.json, 0600, written by `edge-agent review user`, read anew when it changes."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge_agent.errors import BadLabelError, ConfigError, RefusedError
from edge_agent.evidence.labels import check_person
from edge_agent.storage import replace_file

FILE = "review-users.json"
FORMAT = 1
FILE_LIMIT_BYTES = 1024 * 1024


class Role(str, enum.Enum):
    """What a person may do: both label; an adjudicator's word also settles disputes."""

    REVIEWER = "reviewer"
    ADJUDICATOR = "adjudicator"


class BadPersonError(RefusedError):
    """A person that is not known, or is known already, or cannot be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """`name` stands beside every label they give; `password` is what `passwords.hashed` made of theirs."""

    name: str
    role: Role
    password: str = field(repr=False)
    since_utc_s: float


class People:
    """The file, by the name of a person. Two names that differ only in capitals would be one person's two opinions."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE
        self._seen: tuple[int, ...] | None = None
        self._known: dict[str, Person] = {}

    def all(self) -> list[Person]:
        """Everybody, by name.

        Raises:
            ConfigError: the file is not ours, or others may read it.
        """
        return sorted(self._people().values(), key=lambda person: person.name.casefold())

    def find(self, name: str) -> Person | None:
        """The person of this name, capitals or not.

        Raises:
            ConfigError: as `all`.
        """
        return self._people().get(name.casefold())

    def add(self, person: Person) -> None:
        """A new person, durable on return.

        Raises:
            BadPersonError: as `check_new`.
            ConfigError: as `all`.
            TransientError: nothing was written.
        """
        self.check_new(person.name)
        self._write({**self._people(), person.name.casefold(): person})

    def check_new(self, name: str) -> None:
        """Whether this may be the name of a new person.

        Raises:
            BadPersonError: it is taken, or cannot be a name.
            ConfigError: as `all`.
        """
        try:
            check_person(name, None)
        except BadLabelError as error:
            raise BadPersonError(str(error).replace("; give --by NAME", "")) from error
        known = self.find(name)
        if known is not None:
            raise BadPersonError(f"{known.name} is here already; `edge-agent review user password` changes theirs")

    def replace(self, person: Person) -> None:
        """Another role or password for a person; whoever is logged in by that name has to log in again.

        Raises:
            BadPersonError: there is none of that name.
            ConfigError, TransientError.
        """
        self.known(person.name)
        self._write({**self._people(), person.name.casefold(): person})

    def remove(self, name: str) -> Person:
        """Take a person away; what they said stays. Returns who it was.

        Raises:
            BadPersonError: there is none of that name.
            ConfigError, TransientError.
        """
        person = self.known(name)
        self._write({key: one for key, one in self._people().items() if one != person})
        return person

    def known(self, name: str) -> Person:
        """The person of this name.

        Raises:
            BadPersonError: there is none.
            ConfigError: as `all`.
        """
        person = self.find(name)
        if person is None:
            names = ", ".join(one.name for one in self.all()) or "nobody yet"
            raise BadPersonError(f"nobody is called {name!r} here; the page knows {names}")
        return person

    def _people(self) -> Mapping[str, Person]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._seen, self._known = None, {}
            return self._known
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read ({error.strerror})") from error
        seen = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)
        if seen != self._seen:
            if status.st_mode & 0o077:
                raise ConfigError(f"{self.path}: mode {status.st_mode & 0o777:o}, and others may read it: chmod 600")
            self._known = self._read()
            self._seen = seen
        return self._known

    def _read(self) -> dict[str, Person]:
        try:
            with self.path.open("rb") as file:
                plain = json.loads(file.read(FILE_LIMIT_BYTES))
            if plain["format"] != FORMAT:
                raise ConfigError(f"{self.path}: format {plain['format']}, expected {FORMAT}")
            people = [Person(**{**one, "role": Role(one["role"])}) for one in plain["people"]]
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path}: not a file of people ({error}); `edge-agent review user` writes it"
            ) from error
        return {person.name.casefold(): person for person in people}

    def _write(self, people: Mapping[str, Person]) -> None:
        plain = {"format": FORMAT, "people": [asdict(person) for person in people.values()]}
        replace_file(self.path, json.dumps(plain, indent=1, ensure_ascii=False).encode(), mode=0o600)
        if os.geteuid() == 0:
            # By `sudo edge-agent review user`: the page itself runs as the owner of the state directory.
            owner = self.path.parent.stat()
            os.chown(self.path, owner.st_uid, owner.st_gid)
        self._seen = None
