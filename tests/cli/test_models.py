"""`edge-agent models compare | shadow | history | show | list`: what a person sees, and what a script gets."""

import json

import cv2
import pytest

from edge_agent.cli import main
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.journal import FILE, Event, Step
from edge_agent.models.store import ModelStore
from tests.fakes.tiny_model import tiny_bundle
from tests.processes.test_candidates import NAME, other_head, parts, sealed


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def store(state):
    return ModelStore(state / "models")


@pytest.fixture
def active(store, tmp_path):
    digest = store.stage(tiny_bundle(tmp_path / "active"))
    store.activate(NAME, digest, RuntimeOptions(), by="operator ana")
    return digest


@pytest.fixture
def models(state, tmp_path, capsys, monkeypatch):
    """Run an action in 80 columns; what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("EDGE_AGENT_CONFIG", raising=False)

    def run(*words, code=0):
        assert main(["models", *map(str, words), "--state", str(state)]) == code
        printed = capsys.readouterr()
        if "json" not in words:
            assert all(len(line) <= 80 for line in printed.out.splitlines()), printed.out
        return printed

    return run


@pytest.fixture
def labelled(tmp_path):
    """A folder of class folders, and a file in it that is no picture."""
    for number, (label, picture) in enumerate(parts(20, seed=8)):
        folder = tmp_path / "labelled" / label
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    (tmp_path / "labelled" / "ok" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "labelled"


# --- compare -------------------------------------------------------------------------------------------------------


def test_a_bundle_is_compared_with_the_active_one_on_the_sealed_parts(models, store, state, active):
    sealed(state, parts(40))
    worse = other_head(store, active, worse=True)

    said = models("compare", worse[:10]).out

    for words in (worse[:12], active[:12], "0 of 40 (0.0%)", "40 of 40 (100.0%)", "20 of 20", "refuse", "MiB", " ms"):
        assert words in said
    assert store.active(NAME) == active
    assert store.journal.read().steps[-1].event is Event.ACTIVATED


def test_scripts_get_one_value_with_the_figures_of_the_gate(models, store, active, labelled):
    other = other_head(store, active)

    printed = models("compare", other, active, "--pictures", labelled, "--output", "json")

    found = json.loads(printed.out)
    assert (found["a"], found["b"], found["outcome"]) == (other, active, "unproven")
    assert {"right_parts": 20, "right_won": 0, "right_lost": 0, "candidate_false_alarms": 0}.items() <= found[
        "figures"
    ].items()
    assert found["memory_bytes"]["a"] > 20 * 1024 * 1024
    assert found["size_bytes"]["a"] > 0
    assert "broken.png" in printed.err


def test_without_a_labelled_part_it_says_where_to_get_some(models, store, active):
    said = models("compare", other_head(store, active)).out

    assert "no parts to compare on" in said
    assert "label --next" in said


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("compare", "0000"), "fits 0 bundles"),
        (("compare", "ACTIVE"), "is the active one"),
        (("shadow", "ACTIVE"), "active already"),
    ],
)
def test_what_cannot_be_compared_or_tried_is_said_in_one_line(models, active, words, text):
    said = models(*(active if word == "ACTIVE" else word for word in words), code=1)

    assert text in said.err
    assert said.err.count("\n") == 1


# --- shadow --------------------------------------------------------------------------------------------------------


def test_a_candidate_that_is_worse_goes_on_no_trial_and_the_exit_code_says_so(models, store, state, active):
    sealed(state, parts(40))
    worse = other_head(store, active, worse=True)

    said = models("shadow", worse, "--by", "ben", "--output", "json", code=1)

    assert json.loads(said.out)["outcome"] == "refuse"
    assert store.active(NAME) == active
    last = store.journal.read().steps[-1]
    assert (last.event, last.by) == (Event.REFUSED, "operator ben")


def test_nothing_was_ever_on_trial(models, active):
    assert "no candidate was ever on trial" in models("shadow").out
    assert json.loads(models("shadow", "--output", "json").out)["trial"] is None
    assert "no candidate is on trial" in models("shadow", "--stop", code=1).err


def test_a_trial_is_shown_listed_and_ended(models, store, active):
    candidate = other_head(store, active)
    store.propose(NAME, candidate, by="learn", reasons=("right answers: 12 sealed parts",), won=1, sealed=12)

    said = models("shadow").out
    assert all(words in said for words in (candidate[:12], active[:12], "shadow since", "0 live parts"))
    states = {model["digest"]: model["trial"] for model in json.loads(models("list", "--output", "json").out)}
    assert states == {active: None, candidate: "shadow"}
    assert "shadow" in models("list").out

    assert "dismissed" in models("shadow", "--stop", "--by", "ben").out
    assert json.loads(models("shadow", "--output", "json").out)["trial"]["open"] is False
    last = store.journal.read().steps[-1]
    assert (last.event, last.by, last.reasons) == (Event.DISMISSED, "operator ben", ("ended by hand",))


def test_a_trial_is_confirmed_by_hand_and_the_probation_ended_by_hand(models, store, active):
    candidate = other_head(store, active)
    store.propose(NAME, candidate)

    assert "probation" in models("shadow", "--confirm").out
    assert store.active(NAME) == candidate
    assert "active, probation" in " ".join(models("list").out.split())
    assert "rolled-back" in models("shadow", "--stop").out
    assert store.active(NAME) == active


# --- history and show ----------------------------------------------------------------------------------------------


def test_history_says_who_did_what_when_and_why(models, store, active):
    other = other_head(store, active)
    models("activate", other[:8], "--by", "ben")
    models("rollback", "--by", "eva")

    said = models("history").out.splitlines()

    assert [line.split()[2] for line in said] == ["imported", "activated", "activated", "rolled-back"]
    assert [line.split("  ")[-1].strip() for line in said[1:]] == ["operator ana", "operator ben", "operator eva"]
    assert all(NAME in line for line in said)
    steps = json.loads(models("history", "--output", "json").out)
    assert [step["digest"] for step in steps] == [active, active, other, active]
    assert steps[-1]["from"] == other
    assert len(json.loads(models("history", other[:8], "--output", "json").out)) == 2
    assert len(json.loads(models("history", "--limit", "1", "--output", "json").out)) == 1
    assert json.loads(models("history", "--name", "screws", "--output", "json").out) == []


def test_no_history_is_said(models):
    assert models("history").out == "no steps yet\n"
    assert json.loads(models("history", "--output", "json").out) == []


def test_what_came_from_outside_cannot_steer_the_terminal(models, store, active):
    store.journal.write(
        Step(
            event=Event.REFUSED,
            name=NAME,
            digest=active,
            by="operator \x1b[31mred\nactivated",
            at_utc_s=1795512000.0,
            reasons=("\x1b]0;title\x07", "x" * 500),
        )
    )

    said = models("history").out + models("show").out

    assert "\x1b" not in said
    assert "\x07" not in said


def test_damaged_lines_are_counted_on_stderr_and_the_others_shown(models, store, active):
    with (store.root / FILE).open("ab") as file:
        file.write(b"{}\n")

    printed = models("history")

    assert "1 lines of the journal cannot be read" in printed.err
    assert "activated" in printed.out


def test_show_tells_where_a_bundle_comes_from(models, store, active):
    other = other_head(store, active)
    store.journal.write(
        Step(
            event=Event.REFUSED,
            name=NAME,
            digest=other,
            by="learn",
            at_utc_s=1795512000.0,
            from_digest=active,
            reasons=("right answers: worse",),
            figures={"right_lost": 9},
        )
    )

    said = models("show", other).out

    for words in (other, "head from", "ok (good), scratch", "0.600", "24, means of 2 blocks", "refused", "by learn"):
        assert words in said
    shown = json.loads(models("show", other, "--output", "json").out)
    assert shown["journal"][0]["figures"] == {"right_lost": 9}


# --- statistics ----------------------------------------------------------------------------------------------------


def test_sums_that_are_not_there_or_are_none_are_refused_with_where_and_what_to_do(models, active, tmp_path):
    (tmp_path / "notes.txt").write_text("no sums")

    nothing = models("statistics", "export", tmp_path / "out", code=1).err
    foreign = models("statistics", "import", tmp_path / "notes.txt", code=1).err
    missing = models("statistics", "import", tmp_path / "gone", code=1).err

    assert "label some pictures first" in nothing
    assert not (tmp_path / "out").exists()
    assert "notes.txt" in foreign
    assert all("expected what `statistics export` wrote" in words for words in (foreign, missing))
