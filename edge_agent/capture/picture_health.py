"""Is the picture itself sound? Rules over a picture's statistics and the camera's own reference.

    view --statistics--> equal to an earlier one?   frozen, repeated          exact, this very picture
                    --> black or burnt out?         dark, overexposed         absolute, this very picture
                    --> unlike the reference?       dark, overexposed, blurred, moved
                                                    mean of the last six, against what sound pictures showed

Parts differ, so one picture says little about sharpness or light. Six of different parts say much: their mean strays
far less than one of them does. A camera that runs freely may show one part six times; there the reach is 2.4 times as
wide, and it learns from pictures a second apart. No picture counts for more than twice the reach: it takes four of six.
"""

from __future__ import annotations

import enum
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_agent.capture.addresses import Address
from edge_agent.capture.picture import Image
from edge_agent.capture.picture_reference import Reference, learn, readings, scene_numbers
from edge_agent.capture.picture_statistics import Statistics, statistics_of
from edge_agent.records import HoldReason

DEFAULT_PICTURES = 30
ALL_CHECKS = frozenset(
    {
        HoldReason.FROZEN,
        HoldReason.REPEATED,
        HoldReason.DARK,
        HoldReason.OVEREXPOSED,
        HoldReason.BLURRED,
        HoldReason.MOVED,
    }
)

# Two equal pictures of a sensor do not exist: its noise differs in some pixel, also through JPEG. Three in a row,
# because a driver may give one buffer twice; two where each picture is that of another part. Codecs that send
# differences leave noise out: a scene that stood still gave up to 16 equal pictures in a row, with a key frame each 20
# (docs/capture.md). There it takes more pictures than lie between two key frames.
FROZEN_AFTER, FROZEN_AFTER_OF_PARTS, FROZEN_AFTER_IN_STREAM = 3, 2, 100
_STREAM_SCHEMES = frozenset({"rtsp", "rtsps"})
_STREAM_ELEMENTS = re.compile(r"rtsp|decodebin|playbin|26[45]|hevc|avc|mpeg|vp[89]|av1")
REMEMBERED = 64  # fingerprints; a loop of more pictures than these is not noticed

WINDOW = 6
# The mean of a window of sound pictures stays within this share of the whole range that single ones showed; where one
# part may fill the window, more than twice as far. tests/bench/health.py measures what that costs and finds.
REACH, RUNNING_SCALE = 0.75, 2.4
MOST_OF_REACH = 2.0
CLEAR_BELOW = 0.75  # of the reach: a fault at the border does not come and go
# Light changes over a day, a lens ages: sound pictures draw the centre after them, with a time constant of 500 pictures
# and never by more than the reach.
DRIFT_SHARE = 1 / 500

# Of the brightest, and the darkest, of all cells of the small picture: a part may be nearly black, but in the light it
# is not black all over. Limited-range video has its black at 16.
BLACK_TO, WHITE_FROM = 16, 250
SOUND_TO_CLEAR = 3


class Phase(str, enum.Enum):
    """Where a camera's reference is."""

    LEARNING = "learning"
    WATCHING = "watching"


class PhaseEvent(enum.Enum):
    """What moves it."""

    KNOWN = "there is a reference of these pictures: enough were seen, or it was kept"
    CHANGED = "pictures of another size or view came, or a person says that a change was on purpose"


PHASES: Mapping[Phase, Mapping[PhaseEvent, Phase]] = {
    Phase.LEARNING: {PhaseEvent.KNOWN: Phase.WATCHING, PhaseEvent.CHANGED: Phase.LEARNING},
    Phase.WATCHING: {PhaseEvent.CHANGED: Phase.LEARNING},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`reason` holds when `reading` lies beyond its reach on this side: -1 below, 1 above."""

    reason: HoldReason
    reading: str
    side: int
    words: str


# The first that holds is the one that is told: a dark picture is also blurred, and shows nothing of where it looks.
RULES = (
    Rule(reason=HoldReason.DARK, reading="light", side=-1, words="mean grey in octaves"),
    Rule(reason=HoldReason.OVEREXPOSED, reading="light", side=1, words="mean grey in octaves"),
    Rule(reason=HoldReason.OVEREXPOSED, reading="burnt", side=1, words="share of burnt out pixels"),
    Rule(reason=HoldReason.BLURRED, reading="fineness", side=-1, words="fineness in octaves"),
    Rule(reason=HoldReason.BLURRED, reading="coarse_fineness", side=-1, words="fineness at half size in octaves"),
    Rule(reason=HoldReason.BLURRED, reading="detail", side=-1, words="fine detail in octaves"),
    Rule(reason=HoldReason.MOVED, reading="agreement", side=-1, words="agreement with what is fixed in the scene"),
)
# The least reach. Light: a little less than half or twice as much. Sharpness: a blur of about one pixel costs 0.5 to 2.
MARGINS = {
    "light": 0.8,
    "burnt": 0.2,
    "fineness": 0.25,
    "coarse_fineness": 0.25,
    "detail": 0.5,
    "agreement": 0.25,
}
LIGHT_READINGS = frozenset({"light", "burnt"})
# Where a camera looks does not drift: one that slips slowly has moved all the same.
STEADY_READINGS = frozenset({"agreement"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with a picture, and after how many sound ones in a row it is over."""

    reason: HoldReason
    text: str
    sound_to_clear: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`state` for people: "off", "learning 12/30", "healthy", or the reason; `finding` None while nothing is wrong."""

    state: str
    finding: Finding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPlan:
    """Which `checks` apply to a camera; `pictures` to learn from; `view` names what of the picture is looked at;
    `frozen_after` equal pictures in a row. `parts`: each picture is of another part. Each `learn_every`-th is learned.
    `measure`: the numbers of sound pictures are wanted, whether anything is checked or not.
    """

    checks: frozenset[HoldReason]
    view: str
    pictures: int = DEFAULT_PICTURES
    frozen_after: int = FROZEN_AFTER
    parts: bool = True
    learn_every: int = 1
    measure: bool = False


def default_checks(address: Address) -> frozenset[HoldReason]:
    """All for what a sensor sees now; none for files, films and the built-in line, which repeat on purpose."""
    files = address.scheme in ("video", "synthetic") or (address.scheme == "folder" and not address.flag("watch"))
    return frozenset() if files else ALL_CHECKS


def frozen_after(address: Address, *, triggered: bool) -> int:
    """Equal pictures in a row that mean a frozen camera."""
    if address.scheme in _STREAM_SCHEMES or (
        address.scheme == "gstreamer" and _STREAM_ELEMENTS.search(address.target.lower())
    ):
        return FROZEN_AFTER_IN_STREAM
    return FROZEN_AFTER_OF_PARTS if shows_parts(address, triggered=triggered) else FROZEN_AFTER


def shows_parts(address: Address, *, triggered: bool) -> bool:
    """Whether each picture is of another part: it was asked for, or is a file."""
    return triggered or address.scheme in ("folder", "synthetic")


class Repeats:
    """Remembers the fingerprints of the last pictures."""

    def __init__(self, frozen_after: int) -> None:
        self._frozen_after = frozen_after
        self._before: deque[bytes] = deque(maxlen=REMEMBERED)
        self._equal = 1

    def look(self, fingerprint: bytes) -> Finding | None:
        """What this picture's fingerprint says."""
        if self._before and self._before[-1] == fingerprint:
            self._equal += 1
            if self._equal < self._frozen_after:
                return None
            text = f"{self._equal} equal pictures in a row, expected fewer than {self._frozen_after}"
            return Finding(reason=HoldReason.FROZEN, text=text)
        self._equal = 1
        ago = next((n for n, known in enumerate(reversed(self._before), start=1) if known == fingerprint), None)
        self._before.append(fingerprint)
        if ago is None:
            return None
        text = f"equal to an earlier picture, {ago} different ones ago; expected a new one"
        return Finding(reason=HoldReason.REPEATED, text=text)


class Comparison:
    """Holds the means of the last pictures against a reference; follows slow drift while all is well."""

    def __init__(self, reference: Reference, checks: frozenset[HoldReason]) -> None:
        self.reference = reference
        self._rules = [rule for rule in RULES if rule.reason in checks]
        self.found: Mapping[str, float] = {}  # the readings of the last picture
        self._drift = dict.fromkeys(reference.expected, 0.0)
        self._strays: dict[str, deque[float]] = {
            name: deque([0.0] * WINDOW, maxlen=WINDOW) for name in reference.expected
        }
        self._broken: Rule | None = None

    def look(self, statistics: Statistics) -> Finding | None:
        """What this picture and those before it say together."""
        found = self.found = readings(statistics, self.reference.template)
        strays = {
            name: (found[name] - expected.centre - self._drift[name]) / expected.reach
            for name, expected in self.reference.expected.items()
        }
        # In too little or too much light edges are weak: that says nothing of the lens or of where it looks.
        lit = abs(strays["light"]) <= 1
        for name, stray in strays.items():
            counted = stray if lit or name in LIGHT_READINGS else 0.0
            self._strays[name].append(min(max(counted, -MOST_OF_REACH), MOST_OF_REACH))
        self._broken = next((rule for rule in self._rules if self._holds(rule)), None)
        if self._broken is None:
            self._follow()
            return None
        return Finding(reason=self._broken.reason, text=self._text(self._broken, found))

    def _holds(self, rule: Rule) -> bool:
        limit = CLEAR_BELOW if rule is self._broken else 1.0
        return rule.side * sum(self._strays[rule.reading]) / WINDOW > limit

    def _follow(self) -> None:
        for name, expected in self.reference.expected.items():
            if name not in STEADY_READINGS:
                moved = self._drift[name] + DRIFT_SHARE * self._strays[name][-1] * expected.reach
                self._drift[name] = min(max(moved, -expected.reach), expected.reach)

    def _text(self, rule: Rule, found: Mapping[str, float]) -> str:
        expected = self.reference.expected[rule.reading]
        limit = expected.centre + self._drift[rule.reading] + rule.side * expected.reach
        side = "at least" if rule.side < 0 else "at most"
        return f"{rule.words} {found[rule.reading]:.2f}, expected {side} {limit:.2f}"


class PictureHealth:
    """One camera's pictures, looked at one by one by its thread. `keep` is given each reference that was learned,
    `hear` the numbers of each sound picture once there is one, beside the reference.

    `relearn` may be called, and `health` read, from any thread.
    """

    def __init__(
        self,
        plan: HealthPlan,
        reference: Reference | None,
        keep: Callable[[Reference], None],
        hear: Callable[[Reference, Mapping[str, float]], None] | None = None,
    ) -> None:
        self._plan = plan
        self._keep = keep
        self._hear = hear
        self._repeats = Repeats(plan.frozen_after)
        self._phase = Phase.LEARNING
        self._seen: list[Statistics] = []
        self._comparison: Comparison | None = None
        self._size_px: tuple[int, int] | None = None
        self._sound = 0  # pictures in a row
        self._relearn = threading.Event()
        if reference is not None and reference.view == plan.view:
            self._know(reference)
        self.health = Health(state=self._state())

    def relearn(self) -> None:
        """Learn anew from the next picture on."""
        self._relearn.set()

    def examine(self, image: Image) -> HoldReason | None:
        """What is wrong with a view, uint8 [h, w, 3]; None when nothing is."""
        if not self._plan.checks and not self._plan.measure:
            return None
        size_px = (image.shape[0], image.shape[1])
        if self._relearn.is_set() or size_px != self._size_px:
            self._relearn.clear()
            self._begin_anew(size_px)
        statistics = statistics_of(image)
        finding = self._steadied(self._find(statistics))
        if finding is None and self._comparison is not None:
            self._told(self._comparison, statistics)
        elif finding is None:
            self._learn(statistics, size_px)
        self.health = Health(state=self._state() if finding is None else finding.reason.value, finding=finding)
        return None if finding is None else finding.reason

    def _find(self, statistics: Statistics) -> Finding | None:
        # Remembered in any case: what a black camera gave before it went black may come again.
        again = self._repeats.look(statistics.fingerprint)
        for finding in (_extreme(statistics), again):
            if finding is not None and finding.reason in self._plan.checks:
                return finding
        return None if self._comparison is None else self._comparison.look(statistics)

    def _told(self, comparison: Comparison, statistics: Statistics) -> None:
        if self._hear is not None:
            numbers = scene_numbers(comparison.reference, statistics)
            self._hear(comparison.reference, {**comparison.found, **numbers})

    def _steadied(self, finding: Finding | None) -> Finding | None:
        """The finding, or the one before it until enough sound pictures came."""
        before = self.health.finding
        self._sound = 0 if finding is not None else self._sound + 1
        if finding is not None or before is None or self._sound >= before.sound_to_clear:
            return finding
        return before

    def _learn(self, statistics: Statistics, size_px: tuple[int, int]) -> None:
        if (self._sound - 1) % self._plan.learn_every:
            return
        self._seen.append(statistics)
        if len(self._seen) >= self._plan.pictures:
            scale = 1.0 if self._plan.parts else RUNNING_SCALE
            margins = {name: margin * scale for name, margin in MARGINS.items()}
            reference = learn(self._seen, self._plan.view, size_px, margins, REACH * scale)
            self._know(reference)
            self._keep(reference)

    def _know(self, reference: Reference) -> None:
        self._phase = PHASES[self._phase][PhaseEvent.KNOWN]
        self._seen = []
        self._size_px = reference.size_px
        self._comparison = Comparison(reference, self._plan.checks)

    def _begin_anew(self, size_px: tuple[int, int]) -> None:
        self._phase = PHASES[self._phase][PhaseEvent.CHANGED]
        self._seen = []
        self._size_px = size_px
        self._comparison = None
        self.health = Health(state=self._state())

    def _state(self) -> str:
        if not self._plan.checks:
            return "off"
        if self._phase is Phase.LEARNING:
            return f"learning {len(self._seen)}/{self._plan.pictures}"
        return "healthy"


def _extreme(statistics: Statistics) -> Finding | None:
    """Black or white all over: no reference is needed to say so."""
    if statistics.brightest <= BLACK_TO:
        text = f"nothing is brighter than grey {statistics.brightest}, expected something above {BLACK_TO}"
        return Finding(reason=HoldReason.DARK, text=text, sound_to_clear=SOUND_TO_CLEAR)
    if statistics.darkest >= WHITE_FROM:
        text = f"nothing is darker than grey {statistics.darkest}, expected something below {WHITE_FROM}"
        return Finding(reason=HoldReason.OVEREXPOSED, text=text, sound_to_clear=SOUND_TO_CLEAR)
    return None
