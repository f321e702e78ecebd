"""What a person at a terminal sees of evidence and labels."""

import json
import sys

import cv2
import numpy as np
import pytest

from edge_agent.cli import main
from edge_agent.config.reference import SMALLEST
from edge_agent.errors import EXIT_CONFIG, EXIT_FAULT, EXIT_OK, EXIT_TEMPORARY, EXIT_USAGE


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    for number in range(8):
        path = folder / ("ok" if number < 5 else "dent") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (16, 20, 3), dtype=np.uint8)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return folder


@pytest.fixture
def edge(tmp_path, capsys, monkeypatch):
    """Runs the command line on a state directory of its own; (exit code, stdout, stderr)."""
    monkeypatch.setenv("USER", "ann")
    monkeypatch.delenv("SUDO_USER", raising=False)

    def run(*words, state=tmp_path / "state"):
        code = main([*words, "--state", str(state)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def filled(edge, folder):
    code, _, _ = edge("evidence", "import", str(folder))
    assert code == EXIT_OK
    return edge


def samples(edge, *words):
    return json.loads(edge("evidence", "list", "--output", "json", *words)[1])


def test_an_import_says_what_it_took_by_class_and_what_it_could_not_take(edge, folder):
    (folder / "ok" / "broken.png").write_bytes(b"x")
    code, out, err = edge("evidence", "import", str(folder))

    assert code == EXIT_FAULT
    assert "broken.png" in err
    assert [line.split() for line in out.splitlines()[:2]] == [["3", "dent"], ["5", "ok"]]
    assert "8 added, 0 were there, 1 unreadable, 0 contradictory; " in out

    (folder / "ok" / "broken.png").unlink()
    code, out, _ = edge("evidence", "import", str(folder))
    assert (code, "0 added, 8 were there" in out) == (EXIT_OK, True)


def test_an_import_for_scripts_is_one_object(edge, folder):
    code, out, _ = edge("evidence", "import", str(folder), "--output", "json")
    report = json.loads(out)
    assert (code, report["added"], report["classes"]) == (EXIT_OK, 8, {"dent": 3, "ok": 5})


def test_before_there_is_evidence_nothing_is_begun_by_looking(edge, tmp_path):
    for words in (("evidence", "list"), ("evidence", "stats"), ("label", "--next"), ("label", "01", "ok")):
        code, _, err = edge(*words)
        assert code == EXIT_FAULT
        assert "no evidence yet; the daemon or `edge-agent evidence import` begins it" in err
    assert not (tmp_path / "state").exists()


def test_a_list_shows_what_is_kept_and_filters(filled):
    code, out, _ = filled("evidence", "list", "--label", "dent")
    assert code == EXIT_OK
    assert out.count("dent") == 3
    assert "no such samples" in filled("evidence", "list", "--camera", "side")[1]
    assert len(samples(filled, "--limit", "2")) == 2


def test_a_label_an_objection_and_a_decision(filled):
    identity = samples(filled, "--label", "ok")[0]["id"]
    assert "ann says dent; it counts as dent" in filled("label", identity[:20], "dent")[1]
    assert "bob says ok; it is disputed" in filled("label", identity, "ok", "--by", "bob", "--note", "only dust")[1]
    assert [one["id"] for one in samples(filled, "--standing", "disputed")] == [identity]
    assert "it counts as ok" in filled("label", identity, "ok", "--by", "chief", "--adjudicate")[1]
    assert "ann takes back dent; it counts as ok" in filled("label", "--undo")[1]

    shown = filled("evidence", "show", identity)[1]
    assert "bob (terminal) says ok  only dust" in shown
    assert "ann (terminal) takes back" in shown
    history = filled("label", "--list", "--limit", "2")[1].splitlines()
    assert "ann" in history[0]
    assert "chief (terminal, adjudicator)  ok" in history[1]


def test_wrong_labels_are_refused_with_what_would_be_right(filled):
    identity = samples(filled)[0]["id"]
    assert "did you mean 'dent'" in filled("label", identity, "dnt")[2]
    assert "no sample begins with 'ZZ'" in filled("label", "ZZ", "dent")[2]
    assert "more than one sample begins with '0'" in filled("label", "0", "dent")[2]
    assert "bob has no label to take back" in filled("label", "--undo", "--by", "bob")[2]
    code, _, err = filled("label", identity)
    assert (code, "expected ID CLASS" in err) == (EXIT_USAGE, True)
    assert "it counts as gash" in filled("label", identity, "gash", "--new-class")[1]


def test_the_walk_asks_for_one_after_another_until_the_queue_is_empty(edge, folder, monkeypatch, tmp_path):
    rows = [f"{path.relative_to(folder)}," for path in sorted(folder.rglob("*.png"))[:4]]
    (folder / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    edge("evidence", "import", "--csv", str(folder / "list.csv"))
    answers = iter(["+ok", "+dent", "1", "u", "nonsense", "s", "2"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))

    code, out, _ = edge("label", "--next")

    assert code == EXIT_OK
    assert "took back dent" in out
    assert "unknown class 'nonsense'" in out
    assert "[1] dent  [2] ok" in out
    assert out.rstrip().endswith("nothing more to label, 1 skipped")
    assert sorted(one["truth"] or "" for one in samples(edge)) == ["", "dent", "ok", "ok"]


def test_the_walk_ends_when_the_terminal_does(edge, folder, monkeypatch):
    (folder / "list.csv").write_text("path,label\nok/1.png,\n")
    edge("evidence", "import", "--csv", str(folder / "list.csv"))

    def gone(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", gone)
    assert edge("label", "--next")[0] == EXIT_OK


def test_hold_request_and_export(filled, tmp_path):
    one, two = (sample["id"] for sample in samples(filled, "--limit", "2"))
    assert "2 put under legal hold" in filled("evidence", "hold", one, two)[1]
    assert {sample["id"] for sample in samples(filled, "--held")} == {one, two}
    assert "1 released" in filled("evidence", "release", one)[1]
    assert "the next 20 pictures of top will be kept" in filled("evidence", "request", "top", "--pictures", "20")[1]

    sealed = [sample for sample in samples(filled) if sample["sealed"]]
    code, out, _ = filled("evidence", "export", str(tmp_path / "out"))
    assert (code, f"{8 - len(sealed)} pictures and labels.csv" in out) == (EXIT_OK, True)
    assert "8 pictures" in filled("evidence", "export", str(tmp_path / "all"), "--sealed")[1]
    code, _, err = filled("evidence", "export", str(tmp_path / "out"))
    assert (code, "never overwrites" in err) == (EXIT_FAULT, True)


def test_stats_say_how_many_and_how_large(filled):
    _, out, _ = filled("evidence", "stats")
    assert "8 samples, 0 of 4096 MiB" in out
    assert json.loads(filled("evidence", "stats", "--output", "json")[1])["samples"] == 8


def test_damage_is_told_with_the_way_out_and_the_way_out_works(filled, tmp_path):
    assert "nothing is damaged" in filled("evidence", "repair")[1]
    (tmp_path / "state" / "evidence" / "evidence.db").write_bytes(b"garbage" * 1000)
    code, _, err = filled("evidence", "list")
    assert code == EXIT_CONFIG
    assert "damaged database (file is not a database); `edge-agent evidence repair` keeps what can be read" in err
    code, out, _ = filled("evidence", "repair")
    assert (code, "8 pictures that have no row any more" in out) == (EXIT_OK, True)
    assert "no such samples" in filled("evidence", "list")[1]


def test_a_split_without_a_list_is_refused(edge, folder):
    assert "it needs --csv FILE" in edge("evidence", "import", str(folder), "--split", "train")[2]


def test_a_full_store_ends_the_import_with_75(edge, folder, tmp_path, capsys):
    config = tmp_path / "agent.yaml"
    config.write_text(SMALLEST + "evidence: {min_free_bytes: 1099511627776}\n")
    code = main(["evidence", "import", str(folder), "--config", str(config), "--state", str(tmp_path / "state")])
    assert code == EXIT_TEMPORARY
    assert "free disk space" in capsys.readouterr().err


def test_a_request_names_a_camera_of_the_configuration(tmp_path, capsys):
    config = tmp_path / "agent.yaml"
    config.write_text(SMALLEST)
    words = ["--config", str(config), "--state", str(tmp_path / "state")]
    assert main(["evidence", "request", "press-3-tpo", *words]) == EXIT_CONFIG
    assert "did you mean" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()
    assert main(["evidence", "request", "press-3-top", *words]) == EXIT_OK


def test_nobody_without_a_name_labels(edge, filled, monkeypatch):
    monkeypatch.delenv("USER")

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert "--by NAME" in filled("label", "01", "ok")[2]


def test_help_loads_no_picture_library():
    import subprocess

    command = "import sys; from edge_agent.cli import main\ntry: main(['evidence', '--help'])\nexcept SystemExit: pass\nprint('cv2' in sys.modules, 'sqlite3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
