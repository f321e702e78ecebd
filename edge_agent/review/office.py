"""What every page works with, and how a page is made of a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import jinja2

from edge_agent import __version__
from edge_agent.clock import Clock
from edge_agent.review import wording
from edge_agent.review.desk import Desk
from edge_agent.review.people import People
from edge_agent.review.sessions import Sessions
from edge_agent.review.throttle import Throttle


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraNow:
    """One camera at this moment, as the inspect process tells. `last` is its newest FAIL or HOLD in words."""

    state: str
    fps: float
    passed: int
    failed: int
    held: int
    yield_share: float | None
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What is happening beside this process: `cameras` is None while inspect does not run, `picture` gives the newest
    frame of a camera as JPEG where inspect offers one, and `watched` tells inspect that somebody looks.
    """

    cameras: Callable[[], Mapping[str, CameraNow] | None]
    picture: Callable[[str], bytes | None]
    watched: Callable[[], None]


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edge_agent.review"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (wording.kept_because, wording.model_said, wording.spoken, wording.stands, wording.moment)
    environment.filters.update({word.__name__: word for word in words})
    environment.globals["version"] = __version__
    return environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Everything that is handed to the pages. Passwords are worked out one at a time: each takes 32 MiB and a core."""

    desk: Desk
    people: People
    sessions: Sessions
    throttle: Throttle
    floor: Floor
    clock: Clock
    secure: bool
    passwords: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "password"))
    templates: jinja2.Environment = field(default_factory=_templates, repr=False)

    def render(self, template: str, **facts: object) -> str:
        """The HTML of a template."""
        return self.templates.get_template(template).render(**facts)
