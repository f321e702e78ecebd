from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from edge_agent.config.expected import fragment_at
from edge_agent.config.reference import SMALLEST, pages
from edge_agent.config.settings import Settings, schema
from edge_agent.config.template import Draft, render
from tests.config.samples import read

DOCS = Path(__file__).parents[2] / "docs"
DRAFT = Draft(
    site={"enterprise": "acme", "plant": "lyon", "gateway": "gw-07"},
    cameras={"press-3-top": {"source": "synthetic:scratches"}, "other": {"source": "synthetic:pits"}},
    mqtt={"url": "mqtt://localhost:1883"},
    remarks={"other": "A remark."},
)


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_generated_pages_are_fresh(name):
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run python -m edge_agent.config.reference docs"


def test_every_key_is_described():
    for section in Settings.model_fields:
        properties = fragment_at(schema(), (section,) if section != "cameras" else (section, "a")).get("properties", {})
        assert all(key.get("description") for key in properties.values()), section


def test_the_schema_for_editors_accepts_what_we_accept():
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(yaml.safe_load(SMALLEST), schema())


def test_the_schema_for_editors_accepts_our_own_template():
    jsonschema.validate(yaml.safe_load(render(DRAFT)), schema())
    jsonschema.validate(yaml.safe_load(render(DRAFT).replace("#: ", "")), schema())


def test_the_schema_for_editors_knows_the_names_of_cameras():
    tree = yaml.safe_load(SMALLEST)
    tree["cameras"]["Press_3"] = {"source": "synthetic:pits"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, schema())


@pytest.mark.parametrize("wrong", [{"fsp": 5}, {"fps": "ten"}, {"roi": [1, 2]}, {"rotation": 45}, {"threshold": 2}])
def test_the_schema_for_editors_refuses_what_we_refuse(wrong):
    tree = yaml.safe_load(SMALLEST)
    tree["cameras"]["press-3-top"].update(wrong)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, schema())


def test_the_template_loads_as_it_is():
    settings = read(render(DRAFT))
    assert settings.cameras["other"].source == "synthetic:pits"


def test_the_template_without_its_comment_marks_says_the_same():
    assert read(render(DRAFT).replace("#: ", "")) == read(render(DRAFT))


def test_no_line_of_the_template_is_wider_than_a_terminal():
    assert max(map(len, render(DRAFT).splitlines())) <= 120
