"""Writes docs/mqtt: a JSON Schema for every payload, one AsyncAPI document, and the reference for people.

`python -m edge_agent.sync.schema docs/mqtt`. Run by a developer and by a test; the daemon never imports this module,
nor pydantic through it.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from edge_agent.storage import replace_file
from edge_agent.sync import handbook
from edge_agent.sync.glossary import meaning
from edge_agent.sync.messages import MAX_PAYLOAD_BYTES
from edge_agent.sync.payloads import PAYLOADS, VERSION
from edge_agent.sync.topics import TOPICS, Direction, TopicShape

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MQTT_BINDING = "0.2.0"
_MOMENTS = frozenset({"ts", "since", "deadline", "exp", "loaded", "triggered"})


def payload_schema(name: str, *, references: str = "#/$defs/{model}") -> dict[str, Any]:
    """JSON Schema 2020-12 of one payload. Unknown fields are allowed: a receiver ignores them."""
    # What we send has every field; what we are sent may leave out those with a default, but for `v`.
    mode: Any = "validation" if name == "command" else "serialization"
    schema = TypeAdapter(PAYLOADS[name]).json_schema(mode=mode, ref_template=references)
    _describe(_payload_name(schema["title"]), schema)
    for part in schema.get("$defs", {}).values():
        _describe(_payload_name(part["title"]), part)
    schema["properties"]["v"] = {"const": VERSION, "description": meaning(name, "v")}
    schema["required"] = sorted({"v", *schema.get("required", ())}, key=list(schema["properties"]).index)
    if name == "telemetry":
        schema["additionalProperties"] = {"type": "number"}
    return {"$schema": DIALECT, "title": f"Edge Agent {name}", **{k: v for k, v in schema.items() if k != "title"}}


def _payload_name(title: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", title.removesuffix("Payload")).lower()


def _describe(payload: str, schema: dict[str, Any]) -> None:
    for name, field in schema["properties"].items():
        field["description"] = meaning(payload, name)
        field.pop("title", None)
        if name in _MOMENTS:
            field["format"] = "date-time"


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document; `send` is what the gateway publishes."""
    schemas: dict[str, Any] = {}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for shape in TOPICS:
        if shape.name in PAYLOADS:
            schema = payload_schema(shape.name, references="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[shape.name] = {key: value for key, value in schema.items() if key != "$schema"}
        channels[shape.name] = _channel(shape)
        operations[shape.name] = _operation(shape, "send" if shape.direction is Direction.UP else "receive")
        if shape.direction is Direction.BOTH:
            operations[f"{shape.name}_sent"] = _operation(shape, "send")
    messages = {shape.name: _message(shape) for shape in TOPICS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Edge Agent gateway",
            "version": str(VERSION),
            "description": f"What a gateway says and hears. Payloads are at most {MAX_PAYLOAD_BYTES // 1024} KiB.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def _operation(shape: TopicShape, action: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{shape.name}"},
        "summary": shape.purpose,
        "bindings": {"mqtt": {"qos": shape.qos, "retain": shape.retained, "bindingVersion": MQTT_BINDING}},
    }


def _message(shape: TopicShape) -> dict[str, Any]:
    if shape.name not in PAYLOADS:
        return {"name": shape.name, "contentType": "application/octet-stream"}
    return {
        "name": shape.name,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{shape.name}"},
    }


def _channel(shape: TopicShape) -> dict[str, Any]:
    parameters = {
        "root": {"description": "One to three levels: enterprise, plant, area."},
        "gateway": {"description": "Name of the gateway: 1 to 64 of a-z, 0-9 and -."},
    }
    parameters |= {name: {"description": f"The {name}."} for name in re.findall(r"<(\w+)>", shape.pattern)}
    return {
        "address": "{root}/ev1/{gateway}/" + shape.pattern.replace("<", "{").replace(">", "}"),
        "messages": {shape.name: {"$ref": f"#/components/messages/{shape.name}"}},
        "parameters": parameters,
        "description": shape.purpose,
    }


def documents() -> dict[str, bytes]:
    """Every generated file of docs/mqtt by its name."""
    schemas = {name: payload_schema(name) for name in PAYLOADS}
    whole = asyncapi()
    files = {f"{name}.schema.json": _pretty(schema) for name, schema in schemas.items()}
    files["asyncapi.json"] = _pretty(whole)
    files["asyncapi.yaml"] = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=120).encode()
    files["README.md"] = handbook.text(schemas).encode()
    return files


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where to write, usually docs/mqtt")
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in documents().items():
        replace_file(directory / name, content, durable=False, mode=0o644)


if __name__ == "__main__":
    main()
