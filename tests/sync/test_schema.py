"""docs/mqtt is what the code says, and what the code sends is what docs/mqtt says."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from edge_agent.sync import handbook, schema
from edge_agent.sync.alarms import ALARM_CODES
from edge_agent.sync.commands import COMMANDS
from edge_agent.sync.payloads import PAYLOADS
from edge_agent.sync.topics import TOPICS

DOCS = Path(__file__).parents[2] / "docs" / "mqtt"


def test_the_files_in_docs_are_the_ones_that_the_code_makes():
    made = schema.documents()

    assert {path.name for path in DOCS.iterdir()} == set(made)
    stale = [name for name, content in made.items() if (DOCS / name).read_bytes() != content]
    assert stale == [], "run: python -m edge_agent.sync.schema docs/mqtt"


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_schema_is_one_and_knows_the_payload_that_we_really_send(name):
    rules = schema.payload_schema(name)
    jsonschema.Draft202012Validator.check_schema(rules)
    check = jsonschema.Draft202012Validator(rules, format_checker=jsonschema.FormatChecker())
    payload = json.loads(handbook.examples()[name])

    check.validate(payload)
    check.validate({**payload, "a_field_of_tomorrow": 1})
    for field in rules["required"]:
        assert not check.is_valid({key: value for key, value in payload.items() if key != field})
    assert not check.is_valid({**payload, "v": 2})


def test_every_reference_in_the_asyncapi_document_leads_somewhere():
    document = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
    assert document == json.loads((DOCS / "asyncapi.json").read_text())

    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if "$ref" in value else [])
            for below in value.values():
                yield from references(below)
        elif isinstance(value, list):
            for below in value:
                yield from references(below)

    found = list(references(document))
    assert len(found) > 3 * len(TOPICS)
    for reference in found:
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_the_asyncapi_document_has_every_topic_with_its_direction_qos_and_retain():
    document = schema.asyncapi()

    for shape in TOPICS:
        operation = document["operations"][shape.name]
        assert (operation["action"] == "send") == (shape.direction.value == "up")
        assert operation["bindings"]["mqtt"] == {"qos": shape.qos, "retain": shape.retained, "bindingVersion": "0.2.0"}
        address = document["channels"][shape.name]["address"]
        assert set(document["channels"][shape.name]["parameters"]) == {
            part[1:-1] for part in address.split("/") if part.startswith("{")
        }


def test_the_reference_names_every_alarm_code_and_command():
    page = (DOCS / "README.md").read_text()

    for name in (*ALARM_CODES, *COMMANDS):
        assert f"`{name}`" in page


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("edge_agent.sync.uplink", {"pydantic", "yaml"}),
        (
            "edge_agent.processes.sync",
            {"numpy", "cv2", "torch", "onnxruntime", "rich", "onnx", "edge_agent.sync.schema"},
        ),
    ],
)
def test_what_talks_to_the_broker_loads_neither_pictures_nor_what_it_does_not_need(module, heavy):
    code = f"import sys, {module}; loaded = {heavy!r} & set(sys.modules); assert not loaded, loaded"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=DOCS.parents[1], timeout=60)
