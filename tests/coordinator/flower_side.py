"""Runs under the Python of `tests.flower`, where Flower is and this project is not: what Flower makes of given arrays.

flower_side.py rounds IN.npz OUT.npz      the model after each round, by strategy
flower_side.py distances IN.npz OUT.npz   squared distances and the order of Multi-Krum
flower_side.py cost COUNT SIZE            one JSON line: what FedAvg of COUNT updates of SIZE float32 costs
"""

import json
import resource
import sys
import time

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import multikrum
from flwr.supercore.task_identity import TaskIdentity

# Building an instruction outside a running task fails without (flwr 1.41; private).
TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1

STRATEGIES = {
    "fedavg": flower.FedAvg,
    "fedavgm": lambda: flower.FedAvgM(server_learning_rate=0.7, server_momentum=0.9),
    "fedadam": lambda: flower.FedAdam(eta=0.01, beta_1=0.9, beta_2=0.99, tau=1e-3),
    "fedyogi": lambda: flower.FedYogi(eta=0.01, beta_1=0.9, beta_2=0.99, tau=1e-3),
    "median": flower.FedMedian,
    "trimmed": lambda: flower.FedTrimmedAvg(beta=0.2),
    "krum": lambda: flower.Krum(num_malicious_nodes=2),
    "multikrum": lambda: flower.MultiKrum(num_malicious_nodes=2, num_nodes_to_select=4),
}


def record(arrays):
    return ArrayRecord({name: Array(np.asarray(array, order="C")) for name, array in arrays.items()})


def reply(arrays, samples):
    content = RecordDict({"arrays": record(arrays), "metrics": MetricRecord({"num-examples": int(samples)})})
    instruction = Message(content=RecordDict(), dst_node_id=1, message_type="train")
    return Message(content=content, reply_to=instruction)


def rounds(given):
    """`model/NAME`, `delta/ROUND/PLANT/NAME` and `samples` [plants] -> STRATEGY/ROUND/NAME."""
    names = [key.removeprefix("model/") for key in given if key.startswith("model/")]
    plants = range(len(given["samples"]))
    made = {}
    for label, make in STRATEGIES.items():
        chosen = make()
        model = {name: given[f"model/{name}"] for name in names}
        number = 1
        while f"delta/{number}/0/{names[0]}" in given:
            learned = [{n: model[n] + given[f"delta/{number}/{plant}/{n}"] for n in names} for plant in plants]
            chosen.current_arrays = record(model) if label == "fedavgm" else model
            replies = [reply(arrays, given["samples"][plant]) for plant, arrays in enumerate(learned)]
            arrays, _ = chosen.aggregate_train(number, replies)
            model = {name: arrays[name].numpy() for name in names}
            made |= {f"{label}/{number}/{name}": model[name] for name in names}
            number += 1
    return made


def distances(given):
    """`rows` [N, P] -> `distances` [N, N], `kept`: the place of the one that Krum takes."""
    contents = [
        RecordDict({"arrays": record({"w": row}), "metrics": MetricRecord({"place": place})})
        for place, row in enumerate(given["rows"])
    ]
    found = multikrum.compute_distances([content["arrays"] for content in contents])
    order = multikrum.select_multikrum(contents, 2, len(contents))
    return {"distances": found, "order": np.array([int(content["metrics"]["place"]) for content in order])}


def cost(count, size, label):
    """Peak memory above what imports take, CPU and wall seconds; the updates are held as messages, as Flower does."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator = np.random.default_rng(0)
    update = (generator.standard_normal(size) * 1e-3).astype(np.float32)
    replies = [reply({"w": np.roll(update, number)}, number + 1) for number in range(count)]
    cpu_s, wall_s = time.process_time(), time.monotonic()
    STRATEGIES[label]().aggregate_train(1, replies)
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"mib": (peak_kib - before_kib) / 1024, "cpu_s": cpu_s, "wall_s": wall_s}


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "cost":
        print(json.dumps(cost(int(rest[0]), int(rest[1]), rest[2])))
    else:
        with np.load(rest[0]) as file:
            source = dict(file)
        np.savez(rest[1], **{"rounds": rounds, "distances": distances}[what](source))
