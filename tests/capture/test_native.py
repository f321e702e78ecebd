"""What runs under another Python: it must parse there, and find everything it needs there."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from edge_agent.capture import native
from edge_agent.capture.pixels import FORMATS

FILES = sorted(Path(native.__file__).parent.glob("*.py"))
OURS = "edge_agent.capture.native"
OLDEST = (3, 8)  # Ubuntu 20.04, JetPack 5


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_parses_under_the_oldest_python(file):
    ast.parse(file.read_text(), feature_version=OLDEST)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_needs_only_the_standard_library_gi_and_its_neighbours(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            root = name.split(".")[0]
            assert root in sys.stdlib_module_names or root == "gi" or name.startswith(OURS), f"{file.name}: {name}"


def test_every_format_that_the_camera_process_lets_through_is_known():
    tree = ast.parse((Path(native.__file__).parent / "gstreamer.py").read_text())
    formats = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FORMATS"
    )

    assert formats
    assert set(formats) <= set(FORMATS)
