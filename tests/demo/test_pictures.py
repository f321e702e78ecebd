"""Folders as people have them: class sub-folders, a manifest, or just pictures; and what is wrong with them."""

import pytest

from edge_agent.errors import BadPictureError
from edge_agent.processes.demo.fitting import divide
from edge_agent.processes.demo.pictures import read_folder


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not looked at here")


def test_class_sub_folders_are_labels_and_the_good_one_is_recognised_by_its_name(tmp_path):
    for name in ("ok/1.png", "ok/2.JPG", "scratch/a.png", "scratch/deep/b.png", "scratch/notes.txt"):
        put(tmp_path / name)

    found = read_folder(tmp_path)

    assert found.classes == ("ok", "scratch")
    assert found.good == {"ok"}
    assert len(found.items) == 4


def test_a_manifest_wins_over_folders_and_keeps_split_and_group(tmp_path):
    put(tmp_path / "images" / "1.png")
    put(tmp_path / "images" / "2.png")
    (tmp_path / "manifest.csv").write_text(
        "path,label,split,group,plant\nimages/1.png,ok,train,7,lyon\nimages/2.png,pit,test,8,lyon\n"
    )

    found = read_folder(tmp_path)

    assert [(i.label, i.split, i.group) for i in found.items] == [("ok", "train", "lyon:7"), ("pit", "test", "lyon:8")]


def test_plain_pictures_have_no_labels(tmp_path):
    put(tmp_path / "b.png")
    put(tmp_path / "a.png")

    found = read_folder(tmp_path)

    assert not found.labelled
    assert [item.path.name for item in found.items] == ["a.png", "b.png"]


def test_only_good_parts_are_a_good_only_start_not_a_class_of_one(tmp_path):
    put(tmp_path / "good" / "a.png")

    assert not read_folder(tmp_path).labelled


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("file,label\na.png,ok\n", "columns are file, label; expected path"),
        ("path,label\n../outside.png,ok\n", ":2: path '../outside.png' does not lie inside"),
        ("path,label\n,ok\n", ":2: path '' does not lie inside"),
        ("path,label\nmissing.png,ok\n", "1 of 1 pictures are missing"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_which_line_and_why(tmp_path, rows, words):
    (tmp_path / "manifest.csv").write_text(rows)

    with pytest.raises(BadPictureError, match=r"manifest\.csv") as caught:
        read_folder(tmp_path)

    assert words in str(caught.value)


def test_an_empty_folder_and_a_missing_one_say_what_was_expected(tmp_path):
    with pytest.raises(BadPictureError, match="no pictures found"):
        read_folder(tmp_path)
    with pytest.raises(BadPictureError, match="not a folder"):
        read_folder(tmp_path / "nowhere")


def test_wherever_a_folder_lies_its_pictures_are_divided_alike(tmp_path):
    for place in ("here", "there"):
        for number in range(20):
            put(tmp_path / place / "ok" / f"{number}.png")
            put(tmp_path / place / "pit" / f"{number}.png")

    here, there = (divide(read_folder(tmp_path / place)) for place in ("here", "there"))

    for one, other in ((here.solve, there.solve), (here.calibrate, there.calibrate), (here.judge, there.judge)):
        assert [(i.label, i.path.name) for i in one] == [(i.label, i.path.name) for i in other]
