"""Who listens to a gateway at the broker: reads what it says, and holds every payload against docs/mqtt."""

import functools
import json
from collections import defaultdict
from pathlib import Path

import jsonschema

from edge_agent.sync.topics import Direction, parse_tail
from tests.fakes.broker import Listener
from tests.fakes.gateway import PREFIX

DOCS = Path(__file__).parents[2] / "docs" / "mqtt"


@functools.cache
def rules(name):
    schema = json.loads((DOCS / f"{name}.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


class Witness(Listener):
    """A listener that knows the gateway's topics; `said` gives decoded payloads, None for an emptied topic."""

    def said(self, tail):
        """All payloads on one topic so far, in order."""
        return [json.loads(message.payload) if message.payload else None for message in self.on(PREFIX + tail)]

    def latest(self, tail):
        """The newest payload on a topic, None when it is empty or was never used."""
        said = self.said(tail)
        return said[-1] if said else None

    def alarm(self, identity):
        """An alarm as a dashboard shows it now, None when there is none."""
        return self.latest(f"alarm/{identity}")

    def parts(self, camera):
        """Inspections by sequence; fails when a sequence has two ids: that would be two inspections of one frame."""
        found = {}
        for part in self.said(f"insp/{camera}"):
            known = found.setdefault(part["sequence"], part)
            assert known["id"] == part["id"], f"{camera}: sequence {part['sequence']} was inspected twice"
        return found

    def last(self, camera):
        """The newest inspection that arrived; empty before the first."""
        return self.latest(f"insp/{camera}") or {}

    def judged_by(self, camera):
        """The digests of the models that judged, in the order of the frames; each change is one entry."""
        parts = self.parts(camera)
        models = [parts[number]["model"] for number in sorted(parts)]
        return [model for index, model in enumerate(models) if index == 0 or models[index - 1] != model]

    def acks(self, kind, identity):
        """The states that a command went through, each once, in order."""
        return list(dict.fromkeys(ack["state"] for ack in self.said(f"ack/{kind}/{identity}")))

    def command(self, kind, identity, **args):
        """Send a command and wait for nothing."""
        payload = json.dumps({"v": 1, "by": "tests", "args": args})
        self.publish(f"{PREFIX}cmd/{kind}/{identity}", payload)

    def check(self):
        """The laws of everything that was heard: it says what its schema says, and its books balance."""
        self._check_payloads()
        for numbers in self.said("tm"):
            for name in cameras_of(numbers):
                assert balanced(numbers, name), f"telemetry of {name} does not balance: {numbers}"
        for message in list(self.heard):
            if message.topic.startswith(f"{PREFIX}sum/") and message.payload:
                told = json.loads(message.payload)
                known = told["passed"] + told["failed"] + told["held"] + told["in_flight"]
                assert told["captured"] == known, f"summary does not balance: {told}"
                assert told["in_flight"] >= 0
                assert told["held"] == sum(told["held_by_reason"].values())

    def _check_payloads(self):
        faults = defaultdict(list)
        for message in list(self.heard):
            if not message.topic.startswith(PREFIX) or not message.payload:
                continue
            found = parse_tail(message.topic.removeprefix(PREFIX))
            if found is None:
                faults[message.topic].append("no row of the topic table fits")
            elif found[0].direction is Direction.UP:
                problems = rules(found[0].name).iter_errors(json.loads(message.payload))
                faults[message.topic] += [problem.message for problem in problems]
        assert {topic: words for topic, words in faults.items() if words} == {}


def cameras_of(numbers):
    """The cameras that telemetry tells of."""
    return [name.removesuffix("_captured") for name in numbers if name.endswith("_captured")]


def balanced(numbers, camera):
    """captured = judged + dropped by reason + in flight."""
    dropped = sum(value for name, value in numbers.items() if name.startswith(f"{camera}_dropped_"))
    known = numbers[f"{camera}_judged"] + dropped + numbers[f"{camera}_in_flight"]
    return numbers[f"{camera}_captured"] == known


def without_gaps(sequences):
    """Whether these numbers, of which there are some, follow one another without a gap."""
    sequences = set(sequences)
    return bool(sequences) and set(sequences) == set(range(min(sequences), max(sequences) + 1))
