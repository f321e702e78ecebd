"""Labelled pictures taken in: each once, whatever happens; what cannot be taken is told, line by line."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.errors import BadEvidenceError, StorageFullError, TransientError
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.exporting import export
from edge_agent.evidence.grouping import SealRules
from edge_agent.evidence.importing import Importer, ImportTerms
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.labels import LabelSource
from edge_agent.evidence.lists import read_csv, read_folder
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.processes.evidence_place import examine
from edge_agent.records import KeepReason, Standing
from tests.evidence.disks import small_disk
from tests.fakes.clock import FakeClock

ROOT = Path(__file__).parents[2]
RULES = StoreRules(bounds=Bounds(floor_bytes=0), seal=SealRules(share=0.3))


def picture(path, seed, kind=".png"):
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 20, 3), dtype=np.uint8)
    path = path.with_suffix(kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(kind, pixels)[1].tobytes())
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    for number in range(6):
        picture(folder / "ok" / f"{number}", number)
    for number in range(6, 10):
        picture(folder / "dent" / "deep" / f"{number}", number, ".jpg")
    return folder


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(EvidenceStore(tmp_path / "evidence", RULES)) as store:
        yield store


def take(store, listing, **terms):
    importer = Importer(store, FakeClock(), examine, ImportTerms(**{"by": "ann", "task": "surface", **terms}))
    done = []
    report = importer.take(listing.entries, done.append)
    assert done == list(range(1, len(listing.entries) + 1))
    return report


def listed(tmp_path, *rows, header="path,label,group,split,plant"):
    file = tmp_path / "pictures" / "list.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def everything(store):
    return Catalogue(store.database).find(Wanted(), limit=-1)


def test_class_folders_become_labels_and_a_second_time_adds_nothing(store, folder):
    first = take(store, read_folder(folder))
    assert (first.added, first.known, dict(first.classes)) == (10, 0, {"ok": 6, "dent": 4})
    samples = everything(store)
    assert {sample.truth for sample in samples} == {"ok", "dent"}
    assert {(sample.width_px, sample.height_px, sample.kept) for sample in samples} == {(20, 16, (KeepReason.IMPORT,))}

    again = take(store, read_folder(folder))
    assert (again.added, again.known, dict(again.classes)) == (0, 10, {"ok": 6, "dent": 4})
    assert everything(store) == samples
    assert len(Catalogue(store.database).events(limit=100)) == 10


def test_a_list_brings_labels_groups_and_only_the_splits_asked_for(store, folder, tmp_path):
    rows = [f"ok/{number}.png,ok,{number // 2},{'train' if number < 4 else 'test'},lyon" for number in range(6)]
    listing = read_csv(listed(tmp_path, *rows), {"train"})

    report = take(store, listing)
    assert (report.added, listing.left_out) == (4, 2)
    assert sorted(sample.group for sample in everything(store)) == [f"batch:lyon/{number // 2}" for number in range(4)]


def test_a_row_without_a_label_brings_a_picture_to_be_labelled(store, folder, tmp_path):
    take(store, read_csv(listed(tmp_path, "ok/1.png,", header="path,label")))
    (sample,) = everything(store)
    assert (sample.standing, sample.truth) == (Standing.UNLABELLED, None)

    report = take(store, read_csv(listed(tmp_path, "ok/1.png,ok", header="path,label")))
    assert (report.relabelled, everything(store)[0].truth) == (1, "ok")


def test_corrupt_missing_and_foreign_files_are_told_and_the_others_taken(store, folder, tmp_path):
    (folder / "ok" / "1.png").write_bytes((folder / "ok" / "1.png").read_bytes()[:40])
    (folder / "ok" / "2.png").write_bytes(b"no picture")
    (folder / "ok" / "3.png").write_bytes(b"")
    (folder / "loose.png").write_bytes(b"x")
    listing = read_folder(folder)
    report = take(store, listing)
    assert report.added == 7
    assert len(report.unreadable) == 3
    assert all(str(folder / "ok") in text for text in report.unreadable)
    assert [fault for fault in listing.faults if "lies in no class folder" in fault] == list(listing.faults)

    report = take(store, read_csv(listed(tmp_path, "ok/9.png,ok", header="path,label")))
    assert "list.csv:2" in report.unreadable[0]
    assert "No such file" in report.unreadable[0]


def test_one_picture_under_two_labels_is_told_and_the_first_stands(store, folder):
    twin = folder / "dent" / "twin.png"
    twin.write_bytes((folder / "ok" / "5.png").read_bytes())
    report = take(store, read_folder(folder))

    assert len(report.contradictions) == 1
    assert "5.png: is 'ok' here, and the very same picture is 'dent' above" in report.contradictions[0]
    assert report.added == 10


def test_a_later_list_corrects_an_earlier_one_only_when_told_to_and_never_a_person(store, folder, tmp_path):
    take(store, read_folder(folder))
    later = read_csv(listed(tmp_path, "ok/1.png,dent", "ok/2.png,dent", header="path,label"))
    report = take(store, later)
    assert (report.relabelled, len(report.contradictions)) == (0, 2)
    assert "--relabel lets this list correct it" in report.contradictions[0]

    name = examine((folder / "ok" / "2.png").read_bytes()).likeness
    (spoken,) = [sample for sample in everything(store) if sample.likeness == name]
    LabelBook(store, FakeClock()).say(spoken.id, "ok", by="bob", source=LabelSource.PAGE)
    report = take(store, later, relabel=True)
    assert (report.relabelled, len(report.contradictions)) == (1, 1)
    assert "people have looked at it" in report.contradictions[0]
    assert sorted(sample.truth for sample in everything(store)) == ["dent"] * 5 + ["ok"] * 5


@pytest.mark.parametrize(
    ("header", "row", "fault"),
    [
        ("path,class", "a.png,ok", "columns path, class; expected path, label and, where known, group, split, plant"),
        ("", "", "columns nothing"),
        ("path,label", '"a.png,ok', "cannot be read as CSV"),
        ("path,label", "\xff", "cannot be read as CSV in UTF-8"),
        ("path,label,split", "a.png,ok,test", "no rows of split train; 1 rows of other splits"),
        ("path,label", "a.png,ok", "columns path, label; expected path, label, split"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_as_a_whole(tmp_path, header, row, fault):
    file = tmp_path / "list.csv"
    file.write_bytes(f"{header}\n{row}\n".encode("latin-1"))
    splits = {"train"} if fault and "split" in fault and "group" not in fault else ()

    with pytest.raises(BadEvidenceError, match=fault):
        read_csv(file, splits)


@pytest.mark.parametrize("path", ["../a.png", "/etc/passwd", "", "x/../../a.png"])
def test_a_list_reaches_only_below_its_own_folder(tmp_path, path):
    listing = read_csv(listed(tmp_path, f"{path},ok", header="path,label"))

    assert listing.entries == ()
    assert "expected a path below" in listing.faults[0]


def test_rows_that_are_too_short_or_long_and_labels_that_cannot_be_are_told(tmp_path):
    listing = read_csv(
        listed(tmp_path, "a.png", "b.png,ok,7,train,lyon,more,and more", "c.png, ok", "d.png,x" + "x" * 64)
    )

    assert [entry.path.name for entry in listing.entries] == ["a.png", "b.png"]
    assert [entry.label for entry in listing.entries] == [None, "ok"]
    assert len(listing.faults) == 2
    assert all("expected 1 to 64 printable" in fault for fault in listing.faults)


def test_a_folder_with_a_list_is_refused_because_the_list_knows_better(folder, tmp_path):
    listed(tmp_path, "ok/1.png,ok", header="path,label")
    with pytest.raises(BadEvidenceError, match="give it with --csv"):
        read_folder(folder)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"x")])
def test_a_folder_that_has_nothing_for_us_is_refused(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(BadEvidenceError, match="class"):
        read_folder(tmp_path / "x")


def test_a_store_that_is_full_of_what_may_not_go_stops_the_import_and_a_larger_one_goes_on(tmp_path, folder):
    sealed = SealRules(share=1.0)
    with (
        contextlib.closing(
            EvidenceStore(tmp_path / "small", StoreRules(bounds=Bounds(limit_bytes=3000, floor_bytes=0), seal=sealed))
        ) as store,
        pytest.raises(StorageFullError, match=r"raise evidence.limit_bytes"),
    ):
        take(store, read_folder(folder))
    with contextlib.closing(
        EvidenceStore(tmp_path / "small", StoreRules(bounds=Bounds(floor_bytes=0), seal=sealed))
    ) as store:
        take(store, read_folder(folder))
        assert len(everything(store)) == 10


CHILD = """
import sys
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.evidence import importing
from edge_agent.evidence.importing import Importer, ImportTerms
from edge_agent.evidence.lists import read_folder
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.processes.evidence_place import examine
importing.BATCH_PICTURES = 5
store = EvidenceStore(Path(sys.argv[1]), StoreRules(bounds=Bounds(floor_bytes=0)))
importer = Importer(store, SystemClock(), examine, ImportTerms(by="ann", task="surface"))
importer.take(read_folder(Path(sys.argv[2])).entries, lambda done: print(done, flush=True))
"""


def test_an_import_killed_again_and_again_ends_like_one_that_was_not(tmp_path, store):
    folder = tmp_path / "many"
    for number in range(60):
        picture(folder / f"class {number % 3}" / f"{number}", number)
    root = tmp_path / "killed"
    for after in (3, 14, 31):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root), str(folder)], stdout=subprocess.PIPE, cwd=ROOT, env=os.environ
        )
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
        process.stdout.close()
        process.wait(30)

    def essence(some_store):
        return sorted((sample.file.rpartition("/")[2], sample.truth, sample.group) for sample in everything(some_store))

    with contextlib.closing(EvidenceStore(root)) as killed:
        take(killed, read_folder(folder))
        killed.sweep_all()
        take(store, read_folder(folder))
        assert essence(killed) == essence(store)
        assert len(essence(store)) == 60


def test_a_burst_of_one_part_is_one_group_also_when_it_comes_in_two_imports(store, tmp_path):
    folder = tmp_path / "bursts"
    rng = np.random.default_rng(1)
    for part in range(4):
        scene = cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
        for shot in range(4):
            noisy = np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8)
            path = folder / ("first" if shot < 2 else "second") / "ok" / f"{part}-{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", noisy)[1].tobytes())

    take(store, read_folder(folder / "first"))
    take(store, read_folder(folder / "second"))

    groups = [sample.group for sample in everything(store)]
    assert len(groups) == 16
    assert sorted(groups.count(group) for group in set(groups)) == [4, 4, 4, 4]


# Export


def test_an_export_can_be_imported_again_and_leaves_the_sealed_ones_out(store, folder, tmp_path):
    take(store, read_folder(folder))
    catalogue = Catalogue(store.database)
    target = tmp_path / "out"
    open_ = catalogue.find(Wanted(sealed=False), limit=-1)
    done = export(open_, store.database.root, target, lambda number: None)
    assert done.pictures == len(open_) < 10

    with contextlib.closing(EvidenceStore(tmp_path / "second", RULES)) as second:
        assert take(second, read_csv(target / "labels.csv")).added == len(open_)
        assert sorted(s.truth for s in everything(second)) == sorted(s.truth for s in open_)
        assert {s.file.rpartition("/")[2] for s in everything(second)} == {s.file.rpartition("/")[2] for s in open_}


def test_an_export_overwrites_nothing_and_names_damaged_pictures(store, folder, tmp_path):
    take(store, read_folder(folder))
    samples = everything(store)
    (store.database.root / samples[0].file).write_bytes(b"damaged")
    target = tmp_path / "out"
    done = export(samples, store.database.root, target, lambda number: None)
    assert done.pictures == 9
    assert samples[0].id in done.damaged[0]

    before = sorted(path.name for path in target.rglob("*"))
    with pytest.raises(BadEvidenceError, match="never overwrites"):
        export(samples, store.database.root, target, lambda number: None)
    assert sorted(path.name for path in target.rglob("*")) == before


def test_a_disk_that_fills_up_stops_the_import_and_started_again_it_ends_as_if_nothing_had_been(tmp_path):
    pictures = tmp_path / "pictures"
    for number in range(200):
        path = picture(pictures / "ok" / f"{number:03}", number)
        path.write_bytes(path.read_bytes() + bytes(number))  # as large as pictures are, though quickly made
    listing = read_folder(pictures)
    with small_disk("4m") as disk:
        with contextlib.closing(EvidenceStore(disk.root / "evidence", RULES)) as store:
            disk.fill(leave_bytes=100_000)
            with pytest.raises(TransientError):
                take(store, listing)
        disk.free()
        with contextlib.closing(EvidenceStore(disk.root / "evidence", RULES)) as store:
            begun = len(everything(store))
            report = take(store, listing)

            assert (report.added, report.known) == (200 - begun, begun)
            assert len(everything(store)) == 200
            assert store.sweep_all().lost == 0
