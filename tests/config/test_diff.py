from __future__ import annotations

import pytest

from edge_agent.config.diff import cameras_to_reopen, diff
from edge_agent.config.keys import Apply
from edge_agent.config.reference import SMALLEST
from tests.config.samples import read, smallest


def test_the_same_settings_differ_in_nothing():
    assert diff(read(SMALLEST), read("# a comment\n" + SMALLEST)) == ()


@pytest.mark.parametrize(
    ("text", "key", "apply"),
    [
        (smallest(camera="    threshold: 0.4\n"), "cameras.press-3-top.threshold", Apply.LIVE),
        (smallest(camera="    rotation: 90\n"), "cameras.press-3-top.rotation", Apply.CAMERA),
        (smallest(top="inspection: {n_of_m: [2, 3]}\n"), "cameras.press-3-top.n_of_m", Apply.LIVE),
        (smallest(mqtt="  keepalive_s: 60\n"), "mqtt.keepalive_s", Apply.CONNECTION),
        (smallest(top="logging: {level: debug}\n"), "logging.level", Apply.LIVE),
        (smallest(top="storage: {state_dir: /x}\n"), "storage.state_dir", Apply.RESTART),
        (SMALLEST.replace("gw-07", "gw-08"), "site.gateway", Apply.RESTART),
    ],
)
def test_a_change_says_what_it_needs(text, key, apply):
    (change,) = diff(read(SMALLEST), read(text))
    assert (change.key, change.apply) == (key, apply)


def test_cameras_that_come_and_go_leave_the_others_open():
    two = read(smallest(camera="  second: {source: 'synthetic:pits'}\n"))
    added = diff(read(SMALLEST), two)
    assert [(c.key, c.old, c.new) for c in added] == [("cameras.second", "absent", "present")]
    assert cameras_to_reopen(added) == {"second"}
    assert cameras_to_reopen(diff(two, read(SMALLEST))) == {"second"}


def test_a_new_password_is_a_change_that_tells_nothing():
    text = smallest(mqtt="  username: u\n  password: !secret p\n")
    old, new = (read(text, {"EDGE_AGENT_SECRET_P": value}) for value in ("one", "two"))
    (change,) = diff(old, new)
    assert change.key == "mqtt.password"
    assert change.apply is Apply.CONNECTION
    assert "one" not in str(change)
    assert "two" not in str(change)


def test_every_key_says_when_a_change_takes_effect():
    from edge_agent.config.expected import fragment_at
    from edge_agent.config.settings import Settings, schema

    missing = [
        f"{section}.{name}"
        for section in Settings.model_fields
        for name, key in fragment_at(schema(), (section,)).get("properties", {}).items()
        if "x-apply" not in key
    ]
    assert missing == []
