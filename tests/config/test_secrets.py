from __future__ import annotations

import pytest

from edge_agent.config.faults import InvalidConfigError, Place
from edge_agent.config.secrets import Secrets
from edge_agent.config.settings import load
from tests.config.samples import smallest

TEXT = smallest(mqtt="  username: gw\n  password: !secret broker-password\n")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "etc" / "agent.yaml"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


@pytest.fixture
def credentials(tmp_path):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "broker-password").write_text("from systemd\n")
    return folder


def password(file, environment) -> str:
    return load(file, environment=environment).mqtt.password.get_secret_value()


def secrets_file(file, text="broker-password: from file\n", mode=0o640):
    path = file.parent / "secrets.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_systemd_comes_before_the_file_and_the_file_before_the_environment(file, credentials):
    everything = {"CREDENTIALS_DIRECTORY": str(credentials), "EDGE_AGENT_SECRET_BROKER_PASSWORD": "from environment"}
    secrets = secrets_file(file)
    assert password(file, everything) == "from systemd"
    (credentials / "broker-password").unlink()
    assert password(file, everything) == "from file"
    secrets.unlink()
    assert password(file, everything) == "from environment"


def test_a_missing_secret_names_every_place_that_was_looked_at(file, credentials):
    (credentials / "broker-password").unlink()
    secrets_file(file, "broker-pasword: x\n")
    with pytest.raises(InvalidConfigError) as caught:
        load(file, environment={"CREDENTIALS_DIRECTORY": str(credentials)})
    (fault,) = caught.value.faults
    for place in (f"{credentials}/broker-password", "secrets.yaml", "$EDGE_AGENT_SECRET_BROKER_PASSWORD"):
        assert place in fault.hint
    assert "did you mean broker-pasword?" in fault.hint
    assert fault.key == "mqtt.password"


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o604, 0o641])
def test_a_secrets_file_that_everyone_may_open_is_refused(file, mode):
    secrets_file(file, mode=mode)
    with pytest.raises(InvalidConfigError, match="chmod 640"):
        load(file, environment={})


def test_secrets_are_never_printed(file):
    settings = load(file, environment={"EDGE_AGENT_SECRET_BROKER_PASSWORD": "hunter2"})
    for text in (repr(settings), str(settings), settings.as_yaml(), repr(settings.mqtt), settings.digest):
        assert "hunter2" not in text


def test_a_fault_beside_a_secret_does_not_print_it(file):
    file.write_text(TEXT.replace("username: gw", "username: [x]"))
    with pytest.raises(InvalidConfigError) as caught:
        load(file, environment={"EDGE_AGENT_SECRET_BROKER_PASSWORD": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_plain_password_of_the_wrong_type_is_not_printed(file):
    file.write_text(TEXT.replace("!secret broker-password", "4711"))
    with pytest.raises(InvalidConfigError) as caught:
        load(file, environment={})
    assert "4711" not in str(caught.value)
    assert "(hidden)" in str(caught.value)


def test_a_fault_in_the_secrets_file_does_not_print_the_secret(file):
    secrets_file(file, "broker-password: [hunter2]\n")
    with pytest.raises(InvalidConfigError) as caught:
        load(file, environment={})
    assert "hunter2" not in str(caught.value)


def test_a_secret_stands_only_where_a_password_belongs(file):
    file.write_text(TEXT.replace("username: gw", "username: !secret broker-password"))
    with pytest.raises(InvalidConfigError, match="only password keys may be secret"):
        load(file, environment={"EDGE_AGENT_SECRET_BROKER_PASSWORD": "x"})


@pytest.mark.parametrize("name", ["../shadow", "/etc/shadow", "", "a b"])
def test_a_name_of_a_secret_cannot_leave_its_folder(file, name):
    file.write_text(TEXT.replace("!secret broker-password", f"!secret '{name}'"))
    with pytest.raises(InvalidConfigError, match="a name of letters"):
        load(file, environment={})


def test_a_process_does_not_miss_the_secrets_of_another(file):
    inspect = load(file, environment={}, secrets_of=("cameras",))
    assert inspect.mqtt.password.get_secret_value() == ""
    whole = load(file, environment={"EDGE_AGENT_SECRET_BROKER_PASSWORD": "x"})
    assert inspect.digest == whole.digest


def test_a_credential_that_cannot_be_read_is_told_not_skipped(file, credentials):
    (credentials / "broker-password").unlink()
    (credentials / "broker-password").mkdir()
    with pytest.raises(InvalidConfigError, match="Is a directory"):
        load(file, environment={"CREDENTIALS_DIRECTORY": str(credentials), "EDGE_AGENT_SECRET_BROKER_PASSWORD": "x"})


def test_an_empty_secrets_file_holds_no_secret(file):
    secrets_file(file, "")
    assert password(file, {"EDGE_AGENT_SECRET_BROKER_PASSWORD": "x"}) == "x"


def test_a_secrets_file_that_is_no_file_is_told(file):
    (file.parent / "secrets.yaml").mkdir()
    with pytest.raises(InvalidConfigError, match="Is a directory"):
        load(file, environment={})


def test_outside_a_unit_the_store_of_systemd_is_looked_at_and_inside_one_it_is_not(tmp_path):
    store, unit = tmp_path / "credstore", tmp_path / "unit"
    for folder in (store, unit):
        folder.mkdir()
    (store / "broker-password").write_text("from the store\n")
    place = Place(file="agent.yaml", line=1, column=1)

    outside = Secrets(tmp_path, {}, store).find("broker-password", place, "mqtt.password")
    with pytest.raises(InvalidConfigError):
        Secrets(tmp_path, {"CREDENTIALS_DIRECTORY": str(unit)}, store).find("broker-password", place, "mqtt.password")

    assert outside == "from the store"
