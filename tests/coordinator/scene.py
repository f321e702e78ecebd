"""A small fleet for the coordinator's tests: statistics of a tiny encoder, deltas of a tiny model, one of each plant."""

import hashlib

import numpy as np

from edge_agent import storage
from edge_agent.coordinator.aggregate import robust
from edge_agent.coordinator.aggregate.averaging import fed_avg_m, fed_buff
from edge_agent.coordinator.clerk import Clerk
from edge_agent.coordinator.ledger import NAME, Ledger
from edge_agent.coordinator.matter import DeltaMatter, StatisticsMatter, model_to_bytes
from edge_agent.coordinator.payloads import Payloads
from edge_agent.coordinator.registry import Task
from edge_agent.coordinator.rounds import Claim
from edge_agent.coordinator.tables import MIGRATIONS
from edge_agent.federate import delta_code, statistics_code
from edge_agent.learn.feature_code import FeatureCode
from edge_agent.learn.statistics import sums
from tests.fakes.clock import FakeClock

FEATURES = 6
ENCODER = "e" * 64
CODE = FeatureCode(offset=np.zeros(FEATURES, np.float32), step=np.full(FEATURES, 0.1, np.float32))
MODEL = model_to_bytes(
    {
        "conv.weight": np.ones((4, 3), np.float32),
        "head.weight": np.zeros(5, np.float32),
        "bn.running_mean": np.ones(2, np.float32),
        "bn.num_batches_tracked": np.array(7),
        "scale.weight": np.float32(2.0),
    }
)
FIRST = hashlib.sha256(MODEL).hexdigest()
GATEWAYS = ("gw-1", "gw-2", "gw-3", "gw-4")


def makers(rule=None):
    return {
        ("heads", "statistics"): lambda _model, _state: StatisticsMatter(code=CODE, good_classes=("ok",)),
        ("steps", "delta"): lambda model, state: DeltaMatter(method=fed_avg_m(), model=model, state=state),
        ("buffer", "delta"): lambda model, state: DeltaMatter(method=fed_buff(), model=model, state=state),
        ("robust", "delta"): lambda model, state: DeltaMatter(
            method=fed_avg_m(), model=model, state=state, rule=rule or robust.median
        ),
    }


def task(name, **terms):
    return Task(
        **{"name": name, "minimum": 2, "maximum": 10, "minimum_samples": 5, "duration_s": 100.0, "grace_s": 20.0}
        | terms
    )


class Scene:
    """A coordinator on a folder, which can be left as it is and begun anew."""

    def __init__(self, root, clock=None, wrap=lambda connection: connection, rule=None, **options):
        self.clock = clock or FakeClock()
        root.mkdir(parents=True, exist_ok=True)
        self.raw = storage.open_database(root / NAME, MIGRATIONS)
        self.raw.execute("PRAGMA synchronous=OFF")  # nobody cuts the power in these tests; flushes are most of the time
        self.ledger = Ledger(wrap(self.raw), root / NAME)
        self.payloads = Payloads(root / "payloads")
        self.clerk = Clerk(
            self.ledger, self.payloads, makers(rule), clock=self.clock, scratch=root / "scratch", **options
        )

    def begin(self, name, gateways=GATEWAYS, **terms):
        self.ledger.registry.add_task(task(name, **terms), self.payloads.place(MODEL) if name != "heads" else ENCODER)
        for gateway in gateways:
            self.ledger.registry.join(gateway, {"product": "pcb"}, (1, 1), {}, self.clock.utc_s())

    def model(self, name):
        release = self.ledger.release(name)
        return None if release is None else self.payloads.read(release.model)

    def close(self):
        self.raw.close()


def statistics_of(gateway, round_number=1, count=30):
    """What this plant would send: the same for the same plant and round. gw-4 alone knows of `burr`."""
    rng = np.random.default_rng([GATEWAYS.index(gateway), round_number])
    names = ["ok", "scratch", "burr" if gateway == "gw-4" else "dent"]
    labels = [names[number % 3] for number in range(count)]
    means = np.array([20 * names.index(label) + 10 * (label == "burr") for label in labels])[:, None]
    codes = np.clip(rng.normal(means, 25, (count, FEATURES)), -127, 127).astype(np.int8)
    return sums(codes, labels)


def statistics_payload(gateway, round_number=1, count=30, base=ENCODER):
    return statistics_code.to_bytes(statistics_code.share(base, statistics_of(gateway, round_number, count)))


def delta_payload(gateway, base, round_number=1, scale=1e-2):
    rng = np.random.default_rng([GATEWAYS.index(gateway), round_number])
    delta = {
        "conv.weight": (rng.standard_normal((4, 3)) * scale).astype(np.float32),
        "head.weight": (rng.standard_normal(5) * scale).astype(np.float32),
    }
    return delta_code.to_bytes(delta, base)[0]


def claim(state, gateway, payload, **changes):
    terms = state.terms
    given = {
        "id": f"{gateway}-{terms.number}",
        "sender": gateway,
        "gateway": gateway,
        "task": terms.task,
        "number": terms.number,
        "offer": terms.offer,
        "kind": terms.kind,
        "base": terms.bases[0],
        "sha256": hashlib.sha256(payload).hexdigest(),
        "samples": 30,
    }
    return Claim(**given | changes)
