from __future__ import annotations

from pathlib import Path

from edge_agent.config.locate import INSTALLED, locate


def test_the_argument_comes_first_then_the_environment_then_this_folder_then_the_installed_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = {"EDGE_AGENT_CONFIG": "/named.yaml"}
    assert locate(None, {}) == INSTALLED
    (tmp_path / "agent.yaml").touch()
    assert locate(None, {}) == Path("agent.yaml")
    assert locate(None, named) == Path("/named.yaml")
    assert locate("given.yaml", named) == Path("given.yaml")
