"""Learning from sums: one encoder, labelled pictures of several plants, one head for all of them.

    pictures -> prepare -> int8 encoder -> int8 codes -> statistics book -> head -> judged on split=test

The bundle is the one that `edge-agent models build` makes: it has never seen these sets. split=train is learned from,
split=val is held out (number of views, temperature, thresholds), split=test is judged. The ridge comes from leaving out
each sample of split=train. No chance plays a part in this, so there are no seeds to repeat; the interval is over draws
of the test set. `f1_single`: what each plant's own labels make of the same common test set.

`f1_finetuned`, `recall_finetuned`: the same after the encoder was fine-tuned on split=train of all plants (tests/bench/
finetuned.py), for three seeds; some 25 minutes of one core. `--quick` takes every eighth picture, one epoch, one seed:
it shows that the path holds, and its figures mean nothing. `--seeds 0` leaves it out.

`label_to_head_s`: one more label for 1,000, end to end through the gateway (tests/bench/label_to_head.py).
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before numpy is loaded, as on a gateway: with two, OpenBLAS waits actively for a core that others use.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import read_picture
from edge_agent.clock import SystemClock
from edge_agent.inspect.scoring import auroc, balanced_accuracy, bootstrap, confusion, macro_f1, recall_at
from edge_agent.learn.book import Book, Entry, new_book, part, put
from edge_agent.learn.book_file import write_book
from edge_agent.learn.feature_code import Codes, FeatureCode, clipped_share
from edge_agent.learn.head import LinearHead, defect_scores, logits
from edge_agent.learn.personal import ALPHAS, choose_alpha
from edge_agent.learn.solve import calibrate, choose_ridge_left_out, head_of, held_out_error, spectrum
from edge_agent.learn.statistics import Statistics, sums
from edge_agent.learn.unknown import calibrated, fit_familiar, strangeness
from edge_agent.models.build.bundle import Plan, build
from edge_agent.models.build.quantise import U8S8
from edge_agent.models.coding import code_picture
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.finetune.plan import FinetunePlan
from edge_agent.models.loading import LoadedModel, with_encoder
from edge_agent.models.runtime import FLOAT
from edge_agent.models.store import ModelStore
from tests.bench.finetuned import Pupil, fine_tune
from tests.bench.label_to_head import measure_way
from tests.bench.report import Options, Progress, run_bench

SETS = ("steelmp", "pcbmp", "magtile")
GOOD = "ok"
VIEWS = (1, 4)
QUICK_STRIDE = 8  # of the training rows, QUICK_STRIDE / 2 of the others
LABELS = 1000
FALSE_ALARMS = 0.02
HELD_LABELS = 300
WAYS, QUICK_WAYS = 10, 3
# Where features of photographs do not reach, as docs/learning.md shows.
FINETUNED = ("pcbmp",)
FINETUNE_SEEDS = 3
# 96 and 128 px were tried on split=val, one seed: macro-F1 .954 and .977. The pictures are 96 px.
FINETUNE_PX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The rows of one split: `codes` int8 [n, V, D], `vectors` float32 [n, D], `labels`, `plants`, `names` each [n]."""

    codes: Codes
    vectors: NDArray[np.float32]
    labels: NDArray[np.str_]
    plants: NDArray[np.str_]
    names: NDArray[np.str_]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=224, metavar="PX", help="input height and width (default 224)")
    parser.add_argument("--features", choices=("stages", "blocks"), default="stages", help="as in `models build`")
    parser.add_argument("--set", action="append", choices=SETS, help="only this set (may be given again)")
    parser.add_argument(
        "--judge", choices=("val", "test"), default="test", help="val: to search a setting (default test)"
    )
    parser.add_argument(
        "--seeds", type=int, default=FINETUNE_SEEDS, metavar="N", help="fine-tuning runs a set (default 3, 0: none)"
    )
    parser.add_argument(
        "--finetune-size", type=int, default=FINETUNE_PX, metavar="PX", help="size it is fine-tuned and judged at"
    )
    parser.add_argument("--no-way", action="store_true", help="leave out the way of a label through the gateway")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep the fine-tuning runs here, and go on with those that are here"
    )


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    names = options.given.set or list(SETS)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        store, model = _model(Path(directory), options, progress)
        base = (Path(directory) / "bundle" / f"encoder-{FLOAT}.onnx").read_bytes()
        absent = [name for name in names if not (options.data / name / "manifest.csv").is_file()]
        for name in names:
            if name not in absent:
                found[name] = _set(model, options, name, progress)
            if name in FINETUNED and name in found and options.given.seeds:
                work = options.given.work or Path(directory) / "finetuned"
                found[name] |= _finetuned(base, options, name, work / name, progress)
        in_memory_s = _codes_to_head(store, model, Path(directory), 1 if options.quick else 3)
    way = {} if options.given.no_way else measure_way(QUICK_WAYS if options.quick else WAYS, progress)
    keys = sorted({key for figures in found.values() for key in figures})
    by_key = {key: {name: figures[key] for name, figures in found.items() if key in figures} for key in keys}
    return {
        "set": list(found),
        "split": options.given.judge,
        "size_px": options.given.size,
        "features": model.code.dimension,
        **by_key,
        **way,
        "codes_to_head_s": in_memory_s,
        "labels": LABELS,
        "absent": absent,
        "runs": 1,
    }


def _model(directory: Path, options: Options, progress: Progress) -> tuple[ModelStore, LoadedModel]:
    size = options.given.size
    plan = Plan(input_px=(size, size), features=options.given.features, parts=120, flavours=(FLOAT, U8S8))
    build(directory / "bundle", plan, SystemClock().utc_s(), progress)
    store = ModelStore(directory / "models")
    return store, with_encoder(store.load(store.stage(directory / "bundle"), RuntimeOptions()))


def _set(model: LoadedModel, options: Options, name: str, progress: Progress) -> dict[str, Any]:
    started_s = time.monotonic()
    splits = _encoded(model, options, name, progress)
    encoded = sum(len(split.labels) * split.codes.shape[1] for split in splits.values())
    return {
        "encode_ms": (time.monotonic() - started_s) * 1000 / encoded,
        **_figures(model, splits["train"], splits["val"], splits[options.given.judge], quick=options.quick),
    }


def _finetuned(base: bytes, options: Options, name: str, work: Path, progress: Progress) -> dict[str, Any]:
    """By seed and in the median: the int8 encoder of each run, with a head solved and judged as any other."""
    rows = _rows(options, name)
    pupil = Pupil(
        name=name,
        folder=options.data / name,
        rows=rows["train"],
        held=rows["val"],
        good=GOOD,
        base=base,
        size_px=options.given.finetune_size,
    )
    epochs = 1 if options.quick else FinetunePlan().epochs
    by_seed: dict[str, dict[str, float | None]] = {"f1_finetuned": {}, "recall_finetuned": {}, "s_per_epoch": {}}
    for seed in range(1 if options.quick else options.given.seeds):
        grown = fine_tune(pupil, FinetunePlan(epochs=epochs, seed=seed), work / str(seed), progress)
        splits = _encoded(grown.model, options, name, progress)
        judged = splits[options.given.judge]
        head = _best_head(grown.model, splits["train"], splits["val"])
        classes = sorted({*splits["train"].labels, *judged.labels})
        by_seed["f1_finetuned"][str(seed)] = macro_f1(_table(head, judged, classes))
        by_seed["recall_finetuned"][str(seed)] = _recall(head, judged)
        by_seed["s_per_epoch"][str(seed)] = grown.s_per_epoch
    medians = {
        key: {**values, "median": float(np.median([value for value in values.values() if value is not None] or [0.0]))}
        for key, values in by_seed.items()
    }
    return {**medians, "finetuned_px": pupil.size_px, "finetuned_epochs": epochs}


def _rows(options: Options, name: str) -> dict[str, list[dict[str, str]]]:
    """The lines of a set's manifest by split."""
    with (options.data / name / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    splits = {split: [row for row in rows if row["split"] == split] for split in ("train", "val", "test")}
    if not options.quick:
        return splits
    return {
        split: chosen[:: QUICK_STRIDE if split == "train" else QUICK_STRIDE // 2] for split, chosen in splits.items()
    }


def _encoded(model: LoadedModel, options: Options, name: str, progress: Progress) -> dict[str, Split]:
    return {
        split: _encode(
            model, options.data / name, rows, max(VIEWS) if split == "train" else 1, f"{name} {split}", progress
        )
        for split, rows in _rows(options, name).items()
    }


def _encode(
    model: LoadedModel, folder: Path, rows: list[dict[str, str]], views: int, what: str, progress: Progress
) -> Split:
    vectors = np.empty((len(rows), model.code.dimension), np.float32)
    codes = np.empty((len(rows), views, model.code.dimension), np.int8)
    for index, row in enumerate(rows):
        vectors[index], codes[index] = code_picture(model, read_picture(folder / row["path"]), views)
        progress(f"encode {what}", index + 1, len(rows))
    columns = (np.array([row[key] for row in rows]) for key in ("label", "plant", "path"))
    labels, plants, names = columns
    return Split(codes=codes, vectors=vectors, labels=labels, plants=plants, names=names)


def _figures(model: LoadedModel, train: Split, held: Split, judged: Split, *, quick: bool) -> dict[str, Any]:
    books = {views: _book(model.coder, train, views) for views in VIEWS}
    ridges = {views: choose_ridge_left_out(book.total, book.codes, book.labels) for views, book in books.items()}
    views = _best_views(books, ridges, held)
    book, ridge = books[views], ridges[views]
    head = _head(book.total, ridge, model.code, held)
    heads = {plant: _head(part(book, blocks={plant}), ridge, model.code, held) for plant in sorted(set(train.plants))}
    classes = sorted({*train.labels, *judged.labels})
    f1 = bootstrap(
        lambda rows: macro_f1(_table(head, judged, classes, rows)),
        len(judged.labels),
        np.random.default_rng(0),
        draws=400,
    )
    return {
        "views": views,
        "ridge": ridge,
        "f1_pooled": f1.value,
        "f1_pooled_95": [f1.low, f1.high],
        "bal_acc_pooled": balanced_accuracy(_table(head, judged, classes)),
        "recall_at_2pct_fa": _recall(head, judged),
        "f1_single": {plant: macro_f1(_table(one, judged, classes)) for plant, one in heads.items()},
        "recall_single": {plant: _recall(one, judged) for plant, one in heads.items()},
        "f1_pooled_by_plant": {
            plant: macro_f1(_table(head, judged, classes, np.flatnonzero(judged.plants == plant))) for plant in heads
        },
        "f1_by_views": {
            v: macro_f1(_table(_head(b.total, ridges[v], model.code, held), judged, classes)) for v, b in books.items()
        },
        "f1_float": macro_f1(_table(_float_head(train, held), judged, classes)),
        "clipped": clipped_share(train.codes),
        "personal": _personal(model.code, book, held, judged, ALPHAS[::3] if quick else ALPHAS),
        "unknown_auroc": _unknown(model.code, book, held, judged),
    }


def _best_views(books: dict[int, Book], ridges: dict[int, float], held: Split) -> int:
    """How many turned views of a part pay, by the error on the held-out parts."""
    errors = {
        views: held_out_error(spectrum(book.total), ridges[views], held.codes[:, 0], held.labels.tolist())
        for views, book in books.items()
    }
    return min(errors, key=lambda views: errors[views])


def _best_head(model: LoadedModel, train: Split, held: Split) -> LinearHead:
    books = {views: _book(model.coder, train, views) for views in VIEWS}
    ridges = {views: choose_ridge_left_out(book.total, book.codes, book.labels) for views, book in books.items()}
    views = _best_views(books, ridges, held)
    return _head(books[views].total, ridges[views], model.code, held)


def _book(coder: str, train: Split, views: int) -> Book:
    entries = [
        Entry(sample=name, label=label, source="import", block=plant)
        for name, label, plant in zip(train.names.tolist(), train.labels.tolist(), train.plants.tolist(), strict=True)
    ]
    return put(new_book(coder, train.codes.shape[2], views), entries, np.ascontiguousarray(train.codes[:, :views]))


def _head(statistics: Statistics, ridge: float, code: FeatureCode, held: Split) -> LinearHead:
    good = [GOOD] if GOOD in statistics.classes else []
    return calibrate(head_of(spectrum(statistics), ridge, good, code), held.vectors, held.labels.tolist())


def _float_head(train: Split, held: Split) -> LinearHead:
    """The same arithmetic on the vectors as they came, one view: what int8 steps cost."""
    exact = sums(train.codes[:, 0], train.labels.tolist())
    rows = train.vectors.astype(np.float64)
    hot = (train.labels[:, None] == np.array(exact.classes)).astype(np.float64)
    statistics = Statistics(
        classes=exact.classes,
        counts=exact.counts,
        gram=rows.T @ rows,  # type: ignore[arg-type]  # float on purpose
        cross=rows.T @ hot,  # type: ignore[arg-type]
    )
    size = train.vectors.shape[1]
    plain = FeatureCode(offset=np.zeros(size, np.float32), step=np.ones(size, np.float32))
    ridge = choose_ridge_left_out(exact, train.codes[:, :1], train.labels.tolist())
    return _head(statistics, ridge, plain, held)


def _table(
    head: LinearHead, judged: Split, classes: list[str], rows: NDArray[np.intp] | None = None
) -> NDArray[np.int64]:
    chosen = slice(None) if rows is None else rows
    named = np.array(head.classes)[logits(head, judged.vectors[chosen]).argmax(axis=1)]
    return confusion(judged.labels[chosen].tolist(), named.tolist(), classes)


def _recall(head: LinearHead, judged: Split) -> float | None:
    """Of defects at 2 % false alarms; None where the set has no good parts to raise a false alarm on."""
    good = judged.labels == GOOD
    if not good.any() or GOOD not in head.classes:
        return None
    scores = defect_scores(head, judged.vectors)
    return recall_at(scores[good], scores[~good], FALSE_ALARMS)


def _personal(code: FeatureCode, book: Book, held: Split, judged: Split, alphas: Sequence[int]) -> dict[str, Any]:
    """Each plant on its own test rows: the common head, and its own with the alpha of its own held-out rows."""
    classes = sorted({*book.labels, *judged.labels})
    result = {}
    for plant in sorted(set(held.plants)):
        own, rows = held.plants == plant, np.flatnonzero(judged.plants == plant)
        statistics = part(book, blocks={plant})
        f1 = []
        for allowed in (alphas[:1], alphas):
            mine = choose_alpha(book.total, statistics, held.codes[own, 0], held.labels[own].tolist(), alphas=allowed)
            f1.append(macro_f1(_table(head_of(mine.source, mine.ridge, (), code), judged, classes, rows)))
        result[plant] = {"alpha": mine.alpha, "f1_common": f1[0], "f1_personal": f1[1]}
    return result


def _unknown(code: FeatureCode, book: Book, held: Split, judged: Split) -> dict[str, float]:
    """AUROC of each defect class that is taken out of the sums, against all other test rows."""
    labels = np.array(book.labels)
    result = {}
    for name in sorted(set(book.labels) - {GOOD}):
        kept = labels != name
        known = np.repeat(labels[kept], book.views).tolist()
        statistics = sums(book.codes[kept].reshape(-1, book.dimension), known)
        familiar = calibrated(fit_familiar(statistics, code), held.vectors, held.labels.tolist())
        strange = strangeness(familiar, judged.vectors)
        result[name] = auroc(strange[judged.labels != name], strange[judged.labels == name])
    return result | {"mean": float(np.mean(list(result.values())))}


def _codes_to_head(store: ModelStore, model: LoadedModel, directory: Path, runs: int) -> float:
    """Seconds from 1,000 labels, their codes at hand, to a calibrated head in the store and the book on disk; median."""
    rng = np.random.default_rng(0)
    size, classes = model.code.dimension, [GOOD, *(f"kind-{number}" for number in range(6))]
    centres = rng.normal(0, 10, (len(classes), size))

    def drawn(count: int) -> tuple[Codes, list[str]]:
        truth = rng.integers(0, len(classes), count)
        spread = rng.normal(0, 20, (count, size)) + centres[truth]
        return np.clip(np.rint(spread), -127, 127).astype(np.int8), [classes[number] for number in truth]

    codes, labels = drawn(LABELS)
    held, held_labels = drawn(HELD_LABELS)
    vectors = held * model.code.step + model.code.offset
    taken = []
    for run in range(runs):
        started_s = time.perf_counter()
        entries = [
            Entry(sample=f"part-{number}", label=label, source="bench", block="today")
            for number, label in enumerate(labels)
        ]
        book = put(new_book(model.coder, size), entries, codes[:, None])
        ridge = choose_ridge_left_out(book.total, book.codes, book.labels)
        head = calibrate(head_of(spectrum(book.total), ridge, [GOOD], model.code), vectors, held_labels)
        store.with_head(model.digest, head, f"bench-{run}")
        write_book(directory / "statistics.book", book)
        taken.append(time.perf_counter() - started_s)
    return float(np.median(taken))


if __name__ == "__main__":
    run_bench("learn", measure, configure)
