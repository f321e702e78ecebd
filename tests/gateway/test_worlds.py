"""Each process holds its own world: what could show a picture is not where the network is, and torch is nowhere."""

import contextlib
import json
from pathlib import Path

import pytest

from edge_agent.errors import EXIT_OK
from tests.fakes.gateway import Gateway
from tests.gateway.conftest import short_folder
from tests.waiting import until


@pytest.fixture(scope="module")
def gateway(broker, models, line):
    with short_folder() as folder, Gateway(folder, broker.url, {"top": line}, models=models) as gateway:
        gateway.start()
        until(lambda: gateway.live("sync")["connected"] and gateway.camera("top")["judged"] > 10)
        yield gateway


def libraries(gateway, process):
    return {part for path in gateway.mapped(process) for part in Path(path).parts}


def test_the_process_with_the_network_has_nothing_loaded_that_could_read_a_picture_or_run_a_model(gateway):
    loaded = libraries(gateway, "sync")

    assert {"numpy", "cv2", "onnxruntime", "torch", "onnx"} & loaded == set()
    assert any("sqlite3" in name for name in loaded)  # so that the look is not at an empty list


def test_the_process_with_the_cameras_has_no_torch(gateway):
    loaded = libraries(gateway, "inspect")

    assert {"numpy", "cv2", "onnxruntime"} <= loaded
    assert {"torch", "onnx"} & loaded == set()


def test_the_process_with_the_cameras_has_no_connection_and_the_one_with_the_network_has_no_video_device(gateway):
    def connections(process):
        return [line for line in Path(f"/proc/{gateway.pid(process)}/net/tcp").read_text().splitlines()[1:]
                if line.split()[9] in sockets(process)]  # fmt: skip

    def opened(process):
        folder = Path(f"/proc/{gateway.pid(process)}/fd")
        names = set()
        for entry in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # a file that was closed between the two looks
                names.add(str(entry.readlink()))
        return names

    def sockets(process):
        return {name[8:-1] for name in opened(process) if name.startswith("socket:[")}

    assert connections("inspect") == []
    assert len(connections("sync")) == 1
    assert not any(name.startswith("/dev/video") for name in opened("sync"))


def test_the_process_that_learns_says_that_nobody_has_labelled_anything_and_ends_well(gateway):
    done = gateway.cli("serve", "learn")

    assert done.returncode == EXIT_OK
    assert "result=nothing-new samples=0" in done.stderr


def test_no_payload_holds_a_picture(gateway, witness):
    until(lambda: len(witness.heard) > 30)

    # The parts are 3 KiB each; what is told of one is text, numbers and names.
    for message in witness.heard:
        assert len(message.payload) < 2048
        json.loads(message.payload or b"null")
