"""The file of people: private, whole after every change, and one name for one person."""

import dataclasses
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_agent.review.passwords import BadPasswordError, check_password, hashed, matches
from edge_agent.review.people import BadPersonError, People, Person, Role
from tests.review.plant import quick_hash


def person(name="ann", **other):
    return Person(**{"name": name, "role": Role.REVIEWER, "password": quick_hash("x"), "since_utc_s": 1.0, **other})


def test_a_person_is_there_for_every_process_and_the_file_for_nobody_else(tmp_path):
    os.umask(0o022)
    People(tmp_path).add(person())

    other = People(tmp_path)
    assert other.find("ann") == person()
    assert other.path.stat().st_mode & 0o777 == 0o600
    other.add(person("bob"))
    assert other.path.stat().st_mode & 0o777 == 0o600


def test_two_names_that_differ_in_capitals_would_be_one_persons_two_opinions(tmp_path):
    people = People(tmp_path)
    people.add(person("Ann"))

    assert people.find("ANN").name == "Ann"
    with pytest.raises(BadPersonError, match="Ann is here already"):
        people.add(person("aNN"))


@pytest.mark.parametrize("name", ["", " ann", "a\nb", "x" * 65])
def test_a_name_that_cannot_stand_beside_a_label_is_refused(tmp_path, name):
    with pytest.raises(BadPersonError, match="expected 1 to 64"):
        People(tmp_path).add(person(name))


def test_a_change_by_another_process_is_seen(tmp_path):
    here, there = People(tmp_path), People(tmp_path)
    here.add(person())
    assert there.find("ann") is not None
    here.replace(dataclasses.replace(person(), role=Role.ADJUDICATOR))
    assert there.find("ann").role is Role.ADJUDICATOR
    here.remove("ann")
    assert there.find("ann") is None
    assert there.all() == []


def test_nobody_can_be_changed_who_is_not_there(tmp_path):
    people = People(tmp_path)
    people.add(person("bob"))

    for change in (lambda: people.remove("ann"), lambda: people.replace(person()), lambda: people.known("ann")):
        with pytest.raises(BadPersonError, match="nobody is called 'ann' here; the page knows bob"):
            change()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path, mode):
    people = People(tmp_path)
    people.add(person())
    people.path.chmod(mode)

    with pytest.raises(ConfigError, match="chmod 600"):
        People(tmp_path).all()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"format": 2, "people": []}', b'{"format": 1, "people": [{"name": "x"}]}', b"\xff"],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path, content):
    people = People(tmp_path)
    people.path.write_bytes(content)
    people.path.chmod(0o600)

    with pytest.raises(ConfigError):
        people.all()
    with pytest.raises(ConfigError):
        people.add(person())
    assert people.path.read_bytes() == content


def test_no_password_stands_in_the_file_nor_in_what_is_printed_of_a_person(tmp_path):
    kept = hashed("correct horse battery", b"0123456789abcdef")
    People(tmp_path).add(person(password=kept))

    assert b"horse" not in (tmp_path / "review-users.json").read_bytes()
    assert kept not in repr(person(password=kept))
    assert json.loads((tmp_path / "review-users.json").read_bytes())["people"][0]["password"].startswith(
        "scrypt$32768$8$3$"
    )


def test_only_the_password_itself_matches_what_was_made_of_it():
    kept = hashed("correct horse battery", b"0123456789abcdef")

    assert matches("correct horse battery", kept)
    assert not matches("correct horse batterY", kept)
    assert kept != hashed("correct horse battery", b"0123456789abcdeg")


@given(st.text(max_size=60))
def test_what_is_no_hash_of_ours_matches_nothing(kept):
    assert not matches("correct horse battery", kept)
    assert not matches("", "scrypt$2$1$1$$" + kept)


@pytest.mark.parametrize("password", ["", "ninechars", "x" * 257])
def test_a_password_is_neither_short_nor_endless(password):
    with pytest.raises(BadPasswordError, match="expected 10 to 256"):
        check_password(password)
