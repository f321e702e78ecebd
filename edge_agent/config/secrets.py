"""`!secret NAME`: from systemd's credentials, or secrets.yaml beside the configuration, or the environment.

In a unit the unit's own credentials count, elsewhere systemd's store. The first place that has the name wins. Values
are never part of a message.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edge_agent.config.faults import InvalidConfigError, Place, did_you_mean, fault_at
from edge_agent.config.nodes import Scalar, describe, read

SECRETS_FILE = "secrets.yaml"
# Where systemd itself looks for what a unit names with LoadCredential=NAME (systemd.exec(5)). Read outside a unit only,
# so that `edge-agent check`, run by root, sees what the unit will see.
CREDENTIAL_STORE = Path("/etc/credstore")
ENVIRONMENT_PREFIX = "EDGE_AGENT_SECRET_"
# systemd's own limit for one credential is 1 MiB; a password is never longer than this.
SECRET_LIMIT_BYTES = 64 * 1024


def environment_name(name: str) -> str:
    """`press-3-camera` -> `EDGE_AGENT_SECRET_PRESS_3_CAMERA`."""
    return ENVIRONMENT_PREFIX + name.upper().replace("-", "_").replace(".", "_")


@dataclass(frozen=True)
class Secrets:
    """The three places. `environment` is os.environ or what a test hands in."""

    directory: Path
    environment: Mapping[str, str]
    store: Path = CREDENTIAL_STORE

    def find(self, name: str, place: Place, key: str) -> str:
        """The value of a secret that the configuration names at `place`.

        Raises:
            InvalidConfigError: it is nowhere (all places are named), or the secrets file is readable by everyone.
        """
        credentials = self.environment.get("CREDENTIALS_DIRECTORY")
        value = self._credential(Path(credentials) / name, place, key) if credentials else self._stored(name)
        if value is not None:
            return value
        if name in self._file:
            return self._file[name]
        variable = environment_name(name)
        if variable in self.environment:
            return self.environment[variable]
        looked = (
            f"{credentials}/{name}" if credentials else f"systemd credentials ({self.store / name})",
            str(self.directory / SECRETS_FILE) + ("" if self._file else " (missing or empty)"),
            f"${variable}",
        )
        hint = ", then ".join(looked)
        near = did_you_mean(name, self._file)
        raise InvalidConfigError(
            [
                fault_at(
                    place,
                    key,
                    f"!secret {name}",
                    "a secret that exists",
                    f"looked in {hint}" + (f"; {near}" if near else ""),
                )
            ]
        )

    def _stored(self, name: str) -> str | None:
        """What systemd's store holds, for those who may read it: nobody but root, as a rule."""
        try:
            return (self.store / name).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            return None

    def _credential(self, path: Path, place: Place, key: str) -> str | None:
        try:
            with path.open("rb") as file:
                content = file.read(SECRET_LIMIT_BYTES)
            return content.decode().rstrip("\r\n")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InvalidConfigError([fault_at(place, key, f"{path} ({reason})", "a readable secret")]) from error

    @cached_property
    def _file(self) -> dict[str, str]:
        path = self.directory / SECRETS_FILE
        top = Place(file=str(path), line=1, column=1)
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(path.stat().st_mode)
                content = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise InvalidConfigError([fault_at(top, "", error.strerror or "a fault", "a readable file")]) from error
        if mode & stat.S_IRWXO:
            found = f"permissions {mode:04o}, open to everyone"
            raise InvalidConfigError([fault_at(top, "", found, "0640 or stricter", f"chmod 640 {path}")])
        if not content.strip():
            return {}
        tree = read(content, str(path))
        wrong = [
            fault_at(
                entry.node.place,
                entry.name,
                describe(entry.node) if not isinstance(entry.node, Scalar) else "(hidden)",
                "text",
            )
            for entry in tree.entries
            if not isinstance(entry.node, Scalar) or entry.node.secret is not None
        ]
        if wrong:
            raise InvalidConfigError(wrong)
        return {entry.name: entry.node.text for entry in tree.entries if isinstance(entry.node, Scalar)}
