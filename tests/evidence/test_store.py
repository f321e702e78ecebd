"""Laws of the store: rows and files agree whatever kills whom, bounds hold, what may not go stays."""

import contextlib
import dataclasses
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import storage
from edge_agent.errors import BadEvidenceError, CorruptStoreError, StorageFullError, TransientError
from edge_agent.evidence import tables
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.grouping import SealRules
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.labels import LabelSource
from edge_agent.evidence.retention import Bounds, usefulness
from edge_agent.evidence.store import EvidenceStore, StoreRules, Swept
from edge_agent.records import KeepReason
from tests.evidence.disks import small_disk, unwritable
from tests.evidence.samples import draft, identity
from tests.fakes.clock import FakeClock

DEADLINE_S = 30.0
ROOT = Path(__file__).parents[2]
NO_FLOOR = Bounds(floor_bytes=0)
NOBODY_SEALED = SealRules(share=0.0)


def rules(limit=10**9, *, floor=0, share=0.0, **other):
    return StoreRules(bounds=Bounds(limit_bytes=limit, floor_bytes=floor), seal=SealRules(share=share), **other)


@contextlib.contextmanager
def store_at(root, given=None):
    store = EvidenceStore(root, given or rules())
    try:
        yield store
    finally:
        store.close()


def everything(store):
    return Catalogue(store.database).find(Wanted(), limit=-1)


def files(root):
    return {str(path.relative_to(root)) for tree in ("open", "sealed") for path in (root / tree).rglob("*.*")}


def agree(store):
    """Every row has its file with the bytes that its name promises, and no file is without a row."""
    samples = everything(store)
    for sample in samples:
        assert len(store.database.pictures.read(sample.file)) == sample.size_bytes
    assert {sample.file for sample in samples} == files(store.database.root)
    return samples


# Keeping


def test_what_is_kept_is_found_again_as_it_was(tmp_path):
    one = draft(1, part="A1", kept=(KeepReason.FAIL, KeepReason.NEAR_THRESHOLD), likeness=2**64 - 1)
    with store_at(tmp_path) as store:
        (kept,) = store.add([one])
    with store_at(tmp_path) as store:
        (found,) = agree(store)

    assert found == kept
    assert found.file == f"open/{found.file[5:7]}/{hashlib.sha256(one.content).hexdigest()}.png"
    assert (found.part, found.kept, found.likeness) == ("A1", one.sample.kept, 2**64 - 1)


def test_the_same_sample_twice_is_one(tmp_path):
    with store_at(tmp_path) as store:
        assert len(store.add([draft(1), draft(2), draft(1)])) == 2
        assert store.add([draft(2)]) == []
        assert len(agree(store)) == 2


def test_the_same_bytes_exist_once_and_stay_until_the_last_sample_of_them_goes(tmp_path):
    with store_at(tmp_path, rules(limit=2500)) as store:
        store.add([draft(1, content=b"same" * 200, group="part:1")])
        store.add([draft(2, content=b"same" * 200, group="part:2", kept=(KeepReason.REQUEST,))])
        assert len(files(tmp_path)) == 1
        first, second = agree(store)
        assert first.group == second.group

        store.add([draft(3, size=992)])
        assert identity(1) not in {sample.id for sample in agree(store)}
        store.add([draft(4, size=992), draft(5, size=992)])
        assert {sample.id for sample in agree(store)} == {identity(4), identity(5)}


def test_a_picture_of_another_kind_is_refused(tmp_path):
    with store_at(tmp_path) as store, pytest.raises(BadEvidenceError, match=r"suffix '.exe', expected .bmp"):
        store.add([draft(1), draft(2).__class__(sample=draft(2).sample, content=b"x", suffix=".exe")])
    with store_at(tmp_path) as store:
        assert agree(store) == []


# Space


def test_the_least_useful_and_oldest_go_first_and_the_bound_holds(tmp_path):
    with store_at(tmp_path, rules(limit=10_000)) as store:
        for number in range(10):
            kept = (KeepReason.RANDOM,) if number % 2 else (KeepReason.FAIL,)
            store.add([draft(number, size=992, kept=kept)])
        for number in range(10, 13):
            store.add([draft(number, size=992)])

        left = {sample.id for sample in agree(store)}
        assert identity(1) not in left
        assert all(identity(number) in left for number in (0, 2, 4, 6, 8, 10, 11, 12))
        assert sum(sample.size_bytes for sample in agree(store)) <= 10_000
        assert Catalogue(store.database).stats().tally == {"evicted-ordinary": 13 - len(left)}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(list(KeepReason)), st.integers(1, 4), st.booleans()), min_size=1, max_size=15),
    st.integers(0, 15),
)
def test_whoever_goes_is_less_useful_or_as_useful_and_older_than_everybody_who_stays(pictures, room):
    with tempfile.TemporaryDirectory() as name:
        with store_at(Path(name)) as store:
            for number, (reason, age, held) in enumerate(pictures):
                store.add([draft(number, size=992, kept=(reason,), captured_utc_s=float(age))])
                store.hold([identity(number)] if held else [], held=True, by="ann")
            before = everything(store)
        with store_at(Path(name), rules(limit=1000 * room + 1)) as store:
            with contextlib.suppress(StorageFullError):
                store.make_room(0)
            stay = {sample.id for sample in agree(store)}

    def rank(sample):
        return usefulness(sample, ()), sample.captured_utc_s, sample.id

    went = [rank(sample) for sample in before if sample.id not in stay]
    stayed = [rank(sample) for sample in before if sample.id in stay]
    assert not went or not stayed or max(went) < min(stayed)
    assert all(sample.id in stay for sample in before if sample.legal_hold)
    assert not went or len(stay) * 992 <= 1000 * room + 1


def test_held_sealed_labelled_and_never_deleted_samples_outlive_everything_and_the_store_says_when_it_is_full(tmp_path):
    keep = rules(limit=4000, never_delete=frozenset({"crack"}))
    with store_at(tmp_path, keep) as store:
        book = LabelBook(store, FakeClock())
        store.add([draft(1, size=992), draft(2, size=992, label="crack"), draft(3, size=992)])
        store.hold([identity(1)], held=True, by="ann")
        book.say(identity(3), "crack", by="ann", source=LabelSource.TERMINAL, new_class=True)

        for number in range(4, 9):
            store.add([draft(number, size=992)])
        assert {sample.id for sample in agree(store)} == {identity(number) for number in (1, 2, 3, 8)}

        store.hold([identity(8)], held=True, by="ann")
        with pytest.raises(StorageFullError, match=r"may not go .*raise evidence.limit_bytes"):
            store.add([draft(9, size=992)])
        assert {sample.id for sample in agree(store)} == {identity(number) for number in (1, 2, 3, 8)}

        store.hold([identity(8)], held=False, by="ann")
        store.add([draft(9, size=992)])
        assert {sample.id for sample in agree(store)} == {identity(number) for number in (1, 2, 3, 9)}


def test_the_floor_of_free_disk_holds_when_somebody_else_fills_it(tmp_path):
    with store_at(tmp_path) as store:
        store.add([draft(number) for number in range(5)])
        free = storage.free_bytes(tmp_path)
    with store_at(tmp_path, rules(floor=free + 2**40)) as store, pytest.raises(StorageFullError, match="floor"):
        store.add([draft(9)])


def test_a_hold_on_a_sample_that_is_not_there_changes_nothing(tmp_path):
    with store_at(tmp_path) as store:
        store.add([draft(1)])
        with pytest.raises(BadEvidenceError, match="no sample"):
            store.hold([identity(1), identity(2)], held=True, by="ann")
        assert not everything(store)[0].legal_hold


def test_rules_that_change_are_applied_to_what_is_there_and_kept_for_verbs_without_a_configuration(tmp_path):
    with store_at(tmp_path) as store:
        store.add([draft(1)])
        LabelBook(store, FakeClock()).say(identity(1), "dent", by="ann", source=LabelSource.PAGE, new_class=True)
    with store_at(tmp_path, rules(people_needed=2)) as store:
        assert everything(store)[0].standing.value == "waiting"
    store = EvidenceStore(tmp_path)
    assert store.rules == rules(people_needed=2)
    store.close()


# The sealed hold-out

moves = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 25), st.integers(0, 6), st.integers(0, 8)),
        st.tuples(st.just("share"), st.sampled_from([0.0, 0.2, 0.5, 0.9])),
        st.tuples(st.just("label"), st.integers(0, 25)),
        st.tuples(st.just("squeeze"), st.integers(1, 6)),
    ),
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(moves)
def test_no_group_is_ever_sealed_in_part_and_no_bytes_are_on_both_sides(steps):
    with tempfile.TemporaryDirectory() as name:
        root, share, answers = Path(name), 0.5, {}
        for step in steps:
            limit = 1000 * step[1] if step[0] == "squeeze" else 10**9
            share = step[1] if step[0] == "share" else share
            with store_at(root, rules(limit=limit, share=share)) as store:
                if step[0] == "add":
                    _, number, group, content = step
                    store.add([draft(number, content=b"%d" % content * 300, group=f"part:{group}")])
                elif step[0] == "label" and any(sample.id == identity(step[1]) for sample in everything(store)):
                    LabelBook(store, FakeClock()).say(
                        identity(step[1]), "a", by="ann", source=LabelSource.PAGE, new_class=True
                    )
                elif step[0] == "squeeze":
                    with contextlib.suppress(StorageFullError):
                        store.make_room(0)
                samples = agree(store)
            for sample in samples:
                assert answers.setdefault(sample.group, sample.sealed) == sample.sealed
                assert sample.file.startswith("sealed/" if sample.sealed else "open/")
            names = {file.rpartition("/")[2] for file in files(root)}
            assert len(names) == len(files(root))


# Crashes

CHILD = """
import sys
from pathlib import Path
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.labels import LabelSource
from edge_agent.clock import SystemClock
from tests.evidence.samples import draft, identity
store = EvidenceStore(Path(sys.argv[1]), StoreRules(bounds=Bounds(limit_bytes=int(sys.argv[2]), floor_bytes=0)))
book = LabelBook(store, SystemClock())
for number in range(int(sys.argv[3]), 10**6):
    store.add([draft(2 * number), draft(2 * number + 1)])
    print("kept", number, flush=True)
    if number % 3 == 0:
        book.say(identity(2 * number), "dent", by="ann", source=LabelSource.PAGE, new_class=True)
        print("said", number, flush=True)
"""


def child(root, limit, start):
    command = [sys.executable, "-c", CHILD, str(root), str(limit), str(start)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)


def test_after_kill_9_at_any_moment_rows_and_files_agree_and_nothing_acknowledged_is_lost(tmp_path):
    chance = random.Random(4)
    kept, said, start = set(), set(), 0
    for _ in range(6):
        process = child(tmp_path, 10**9, start)
        lines = [process.stdout.readline() for _ in range(chance.randrange(1, 40))]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait(DEADLINE_S)
        process.stdout.close()
        for line in lines:
            if line.endswith("\n"):
                word, number = line.split()
                (kept if word == "kept" else said).add(int(number))
        start = max(kept) + 2
        with store_at(tmp_path) as store:
            assert store.sweep_all().lost == 0
            found = {sample.id: sample for sample in agree(store)}
        assert {identity(2 * number + half) for number in kept for half in (0, 1)} <= found.keys()
        assert all(found[identity(2 * number)].truth == "dent" for number in said)


def test_after_kill_9_while_evicting_rows_and_files_agree(tmp_path):
    chance, start = random.Random(5), 0
    for _ in range(4):
        process = child(tmp_path, 40_000, start)
        for _ in range(chance.randrange(30, 60)):
            start = int(process.stdout.readline().split()[1]) + 2
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
        process.stdout.close()
        process.wait(DEADLINE_S)
        with store_at(tmp_path, rules(limit=40_000)) as store:
            assert store.sweep_all().lost == 0
            assert sum(sample.size_bytes for sample in agree(store)) <= 40_000


class PowerCutError(BaseException):
    """Nothing after this happens."""


@pytest.mark.parametrize("point", range(7))
def test_a_cut_at_every_write_leaves_what_the_sweep_puts_in_order(tmp_path, monkeypatch, point):
    """Counted are writes of files, renames, removals and commits, in the order in which an addition makes them."""
    with store_at(tmp_path, rules(limit=3000)) as store:
        store.add([draft(number, size=992) for number in (1, 2, 3)])
        before = {sample.id for sample in everything(store)}
    left = [point]

    def counted(function):
        def call(*arguments, **named):
            if left[0] == 0:
                raise PowerCutError
            left[0] -= 1
            return function(*arguments, **named)

        return call

    store = EvidenceStore(tmp_path, rules(limit=3000))
    monkeypatch.setattr("os.fsync", counted(__import__("os").fsync))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    with contextlib.suppress(PowerCutError):
        store.add([draft(4, size=992), draft(5, size=992)])
    monkeypatch.undo()
    store.close()

    with store_at(tmp_path, rules(limit=3000)) as store:
        store.sweep_all()
        after = {sample.id for sample in agree(store)}
    new = {identity(4), identity(5)}
    assert after <= before | new
    assert new <= after or not new & after


def test_a_sweep_takes_strays_and_rows_without_pictures_but_keeps_what_people_said(tmp_path):
    with store_at(tmp_path) as store:
        store.add([draft(number) for number in range(3)])
        LabelBook(store, FakeClock()).say(identity(1), "dent", by="ann", source=LabelSource.PAGE, new_class=True)
        by_id = {sample.id: sample for sample in everything(store)}
        for number in (0, 1):
            (tmp_path / by_id[identity(number)].file).unlink()
        stray = tmp_path / by_id[identity(2)].file
        stray.with_name("stray.png").write_bytes(b"x")
        stray.with_name(f".{stray.name}.new").write_bytes(b"x")

        assert store.sweep_all() == Swept(strays=2, lost=2)
        assert {sample.id for sample in everything(store)} == {identity(1), identity(2)}
        with pytest.raises(BadEvidenceError, match="cannot be read"):
            store.database.pictures.read(by_id[identity(1)].file)


def test_a_picture_that_changed_on_the_disk_is_not_handed_out(tmp_path):
    with store_at(tmp_path) as store:
        (kept,) = store.add([draft(1)])
        (tmp_path / kept.file).write_bytes(b"other")

        with pytest.raises(BadEvidenceError, match="not those that were kept"):
            store.database.pictures.read(kept.file)


# Disks


def test_a_full_disk_refuses_what_comes_and_loses_nothing():
    keep = rules(never_delete=frozenset({"scratch"}))

    def add_until_refused(store, size):
        kept = []
        for number in range(500):
            try:
                kept += store.add([draft(1000 * size + number, size=size)])
            except TransientError:  # noqa: PERF203 - the fault is what we wait for
                return kept
        raise AssertionError("the disk never was full")

    with small_disk() as disk:
        root = disk.root / "evidence"
        with store_at(root, keep) as store:
            kept = store.add([draft(1)])
            disk.fill()
            # Large ones do not fit by their size; small ones fill the disk until the database itself cannot grow.
            kept += add_until_refused(store, 80_000)
            kept += add_until_refused(store, 320) if disk.mounted else []
        with store_at(root, keep) as store:
            assert {sample.id for sample in agree(store)} == {sample.id for sample in kept}
            disk.free()
            kept += store.add([draft(2, size=80_000)])
            assert {sample.id for sample in agree(store)} == {sample.id for sample in kept}


def test_on_a_read_only_disk_the_fault_is_named_and_nothing_changes(tmp_path):
    root = tmp_path / "evidence"
    with store_at(root) as store:
        store.add([draft(1)])
    with unwritable(root), pytest.raises(TransientError, match="cannot be written"):
        EvidenceStore(root, rules(people_needed=2)).add([draft(2)])
    with store_at(root) as store:
        assert len(agree(store)) == 1


@pytest.mark.parametrize("damage", ["garbage", "middle"])
def test_a_damaged_database_is_refused_and_neither_it_nor_a_picture_is_touched(tmp_path, damage):
    with store_at(tmp_path) as store:
        store.add([draft(number) for number in range(60)])
    path = tmp_path / "evidence.db"
    content = path.read_bytes()
    path.write_bytes(
        b"not a database" * 1000 if damage == "garbage" else content[:8192] + b"\xff" * (len(content) - 8192)
    )
    harmed, pictures = path.read_bytes(), files(tmp_path)

    with pytest.raises(CorruptStoreError, match="damaged"):
        EvidenceStore(tmp_path, rules()).database.check()

    assert path.read_bytes() == harmed
    assert files(tmp_path) == pictures


def test_pictures_without_their_database_and_a_database_without_its_pictures_are_refused(tmp_path):
    with store_at(tmp_path) as store:
        store.add([draft(1)])
    (tmp_path / "evidence.db").rename(tmp_path / "elsewhere")
    with pytest.raises(CorruptStoreError, match="pictures without their database"):
        EvidenceStore(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "evidence.db")
    shutil.rmtree(tmp_path / "open")
    with pytest.raises(CorruptStoreError, match="is a disk not mounted"):
        EvidenceStore(tmp_path)


def test_a_hold_and_its_release_leave_an_audit_line_for_each_sample_and_none_where_nothing_changed(tmp_path):
    audit = []
    with contextlib.closing(EvidenceStore(tmp_path, rules(), lambda *line: audit.append(line))) as store:
        store.add([draft(1), draft(2)])
        assert store.hold([identity(1), identity(2)], held=True, by="ann") == 2
        assert store.hold([identity(1)], held=True, by="bob") == 0
        assert store.hold([identity(1)], held=False, by="eve") == 1

    assert audit == [
        ("legal-hold", {"sample": identity(1), "by": "ann"}),
        ("legal-hold", {"sample": identity(2), "by": "ann"}),
        ("legal-hold-released", {"sample": identity(1), "by": "eve"}),
    ]


def test_where_the_model_saw_a_defect_is_kept_with_the_sample_and_goes_with_it(tmp_path):
    with store_at(tmp_path) as store:
        store.add([dataclasses.replace(draft(1), heat=b"png"), draft(2)])
        catalogue = Catalogue(store.database)
        assert (catalogue.heat(identity(1)), catalogue.heat(identity(2))) == (b"png", None)

        with store.database.writing() as connection:
            tables.remove(connection, [identity(1)])
        assert catalogue.heat(identity(1)) is None


def test_a_store_from_before_there_was_heat_is_brought_up_to_date(tmp_path):
    with store_at(tmp_path) as store:
        store.add([draft(1)])
        store.database.connection().execute("DROP TABLE heat")
        store.database.connection().execute("PRAGMA user_version=1")
    with store_at(tmp_path) as store:
        store.add([dataclasses.replace(draft(2), heat=b"png")])
        assert Catalogue(store.database).heat(identity(2)) == b"png"
        assert len(everything(store)) == 2
