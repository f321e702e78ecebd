"""The checks of the machine, cameras, model, storage, clock and permissions, each on a good and a bad case."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.clock import Clock, SystemClock
from edge_agent.config.settings import loads
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.processes.checks import cameras, configuration, machine, model, moment, permissions, storage
from edge_agent.processes.checks.finding import Context, Finding, Level
from edge_agent.processes.runtime_plan import runtime_plan
from tests.fakes.clock import FakeClock
from tests.fakes.tiny_model import tiny_bundle

TREES = Path(__file__).parents[1] / "data" / "devices"
TEXT = """\
version: 1
site: {enterprise: acme, plant: lyon, gateway: gw-07}
cameras:
  one: {source: 'synthetic:scratches', fps: 240}
mqtt: {url: 'mqtt://127.0.0.1:1'}
storage: {state_dir: state, runtime_dir: run, min_free_bytes: 0}
"""


@pytest.fixture
def context(tmp_path):
    def make(text: str = TEXT, *, tree: str = "x86-vnni", arch: str = "x86_64", clock: Clock | None = None) -> Context:
        file = tmp_path / "agent.yaml"
        return Context(
            config_file=file,
            settings=loads(text.encode(), file=file, environment={}),
            faults=(),
            root=TREES / tree,
            machine=arch,
            environment={},
            clock=clock or SystemClock(),
            frames=3,
        )

    return make


def only(findings: tuple[Finding, ...], level: Level) -> Finding:
    (finding,) = findings
    assert finding.level is level, finding
    if level is not Level.OK:
        assert finding.advice, finding
    return finding


class TestConfiguration:
    def test_without_a_daemon_there_is_nothing_to_compare(self, context):
        only(configuration.running(context()), Level.OK)

    @pytest.mark.parametrize(("digest", "level"), [(None, Level.OK), ("another", Level.WARNING)])
    def test_a_daemon_that_runs_another_configuration_is_a_warning(self, context, tmp_path, digest, level):
        clock = FakeClock()
        given = context(clock=clock)
        (tmp_path / "run").mkdir()
        live = {**snapshot(clock.utc_s(), 0.1), "config_digest": digest or given.valid.digest}
        (tmp_path / "run/inspect.json").write_text(json.dumps(live))
        only(configuration.running(given), level)


class TestDevice:
    def test_the_profile_is_named_with_its_reason(self, context):
        finding = only(machine.device_profile(context()), Level.OK)
        reason, _, price = finding.text.partition("; were it the wrong one: ")
        assert reason == "x86-vnni (x86_64, CPU flag avx_vnni)"
        assert "two to three times slower" in price

    def test_a_profile_that_does_not_match_is_a_warning(self, context):
        text = TEXT + "device: {profile: x86-vnni}\n"
        only(machine.device_profile(context(text, tree="x86-avx2")), Level.WARNING)

    def test_a_provider_that_is_not_installed_is_an_error_never_a_silent_fall_back(self, context):
        jetson = context(tree="jetson-orin-nano-8gb", arch="aarch64")
        finding = only(machine.provider_available(jetson), Level.ERROR)
        assert "TensorrtExecutionProvider" in finding.text
        assert "CPUExecutionProvider" in finding.advice

    def test_a_person_may_choose_the_cpu_there(self, context):
        text = TEXT + "device: {providers: [CPUExecutionProvider]}\n"
        only(machine.provider_available(context(text, tree="jetson-orin-nano-8gb", arch="aarch64")), Level.OK)

    def test_the_power_mode_is_known_by_name(self, context):
        jetson = context(tree="jetson-orin-nano-8gb", arch="aarch64")
        assert only(machine.power_mode(jetson), Level.OK).text == "25W"
        missing = context(tree="jetson-orin-nano-8gb-in-container", arch="aarch64")
        only(machine.power_mode(missing), Level.WARNING)
        only(machine.power_mode(context()), Level.OK)

    def test_heat_and_memory(self, context):
        assert only(machine.temperature(context()), Level.OK).text.startswith("55 C")
        assert only(machine.temperature(context(tree="x86-old")), Level.OK).text == "no sensor here"
        only(machine.memory(context()), Level.OK)

    def test_heat_beyond_the_limit_is_a_warning(self, context, tmp_path):
        zone = tmp_path / "root/sys/class/thermal/thermal_zone0"
        zone.mkdir(parents=True)
        (zone / "type").write_text("x86_pkg_temp\n")
        (zone / "temp").write_text("99000\n")
        only(machine.temperature(replace(context(), root=tmp_path / "root")), Level.WARNING)

    def test_the_plan_takes_threads_and_providers_of_the_configuration(self, context):
        text = TEXT + "device: {threads: 3, providers: [CUDAExecutionProvider]}\n"
        given = context(text, tree="jetson-orin-nano-8gb", arch="aarch64")
        runtime = runtime_plan(given.valid, given.root, given.machine).runtime
        assert runtime.intra_op_threads == 3
        assert runtime.providers[0][0] == "CUDAExecutionProvider"
        assert runtime.providers[0][1]["cudnn_conv_algo_search"] == "HEURISTIC"


class TestCameras:
    def test_a_camera_is_opened_and_gives_frames(self, context):
        assert only(cameras.frames(context()), Level.OK).text.startswith("640x480, 3 frames in")

    def test_a_camera_that_is_not_there_is_an_error_and_the_others_are_still_tried(self, context):
        text = TEXT.replace("mqtt:", "  two: {source: 'v4l2:/dev/v4l/by-id/gone'}\nmqtt:", 1)
        found = {finding.subject: finding for finding in cameras.frames(context(text))}
        assert found["one"].level is Level.OK
        assert found["two"].level is Level.ERROR
        assert "unplugged?" in found["two"].text

    def test_a_node_that_renumbers_is_a_warning(self, context):
        finding = only(
            cameras.addresses(context(TEXT.replace("synthetic:scratches", "v4l2:/dev/video0"))), Level.WARNING
        )
        assert "by-id" in finding.text

    def test_a_folder_without_pictures_is_no_camera_yet(self, context, tmp_path):
        (tmp_path / "empty").mkdir()
        (finding,) = cameras.frames(context(TEXT.replace("synthetic:scratches", f"folder:{tmp_path}/empty")))
        assert finding.level in (Level.WARNING, Level.ERROR)
        assert finding.advice

    def test_a_video_that_is_none_is_an_error(self, context, tmp_path):
        (tmp_path / "line.mp4").write_bytes(b"not a video")
        only(cameras.frames(context(TEXT.replace("synthetic:scratches", f"video:{tmp_path}/line.mp4"))), Level.ERROR)

    @pytest.mark.parametrize(("age_s", "level"), [(0.1, Level.OK), (60.0, Level.ERROR), (None, Level.ERROR)])
    def test_a_camera_that_the_daemon_reads_is_not_opened_again(self, context, tmp_path, age_s, level):
        clock = FakeClock()
        given = context(TEXT.replace("synthetic:scratches", "v4l2:/dev/v4l/by-id/gone"), clock=clock)
        (tmp_path / "run").mkdir()
        (tmp_path / "run/inspect.json").write_text(json.dumps(snapshot(clock.utc_s(), age_s)))
        assert "daemon" in only(cameras.frames(given), level).text


def snapshot(now_utc_s: float, frame_age_s: float | None) -> dict:
    camera = {
        "state": "running", "reason": "", "source": "s", "model": "surface", "digest": None, "mode": "head",
        "fps": 9.9, "frame_age_s": frame_age_s, "captured": 1, "judged": 1, "dropped": {}, "in_flight": 0,
        "skipped": {}, "reconnects": 0, "passed": 1, "failed": 0, "held": 0, "held_by_reason": {}, "labels": {},
        "yield_share": 1.0, "latency_p50_ms": 1.0, "latency_p99_ms": 1.0, "stage_p50_ms": {}, "paused": False,
    }  # fmt: skip
    return {
        "pid": 1, "version": "0", "started_utc_s": now_utc_s, "written_utc_s": now_utc_s, "profile": "x86-vnni",
        "provider": "CPUExecutionProvider", "config_digest": "", "cameras": {"one": camera}, "alarms": [],
    }  # fmt: skip


class TestModel:
    @pytest.fixture
    def store(self, tmp_path):
        store = ModelStore(tmp_path / "state" / "models")
        digest = store.stage(tiny_bundle(tmp_path / "bundle"))
        store.activate("surface", digest, RuntimeOptions())
        return store

    def test_without_a_store_it_says_how_to_get_a_model_and_makes_nothing(self, context, tmp_path):
        only(model.active(context()), Level.ERROR)
        only(model.golden(context()), Level.ERROR)
        assert not (tmp_path / "state").exists()

    def test_the_active_bundle_reproduces_its_golden_vectors(self, context, store):
        assert store.active("surface")[:12] in only(model.active(context()), Level.OK).text
        assert only(model.golden(context()), Level.OK).text == "reproduced with CPUExecutionProvider, u8s8"

    def test_a_name_without_a_bundle_gets_the_nearest(self, context, store):
        text = TEXT.replace("fps: 240", "model: surfaces")
        assert only(model.active(context(text)), Level.ERROR).advice == "did you mean surface?"
        only(model.golden(context(text)), Level.ERROR)

    def test_a_damaged_bundle_is_an_error(self, context, store, tmp_path):
        for blob in (tmp_path / "state/models/blobs").iterdir():
            blob.write_bytes(blob.read_bytes()[:-1])
        only(model.golden(context()), Level.ERROR)

    def test_a_flavour_that_the_bundle_lacks_is_an_error(self, context, store):
        finding = only(model.golden(context(TEXT + "models: {precision: fp32}\n")), Level.ERROR)
        assert "fp32" in finding.text


class TestStorage:
    def test_directories_that_will_be_made(self, context):
        assert {finding.level for finding in storage.writable(context())} == {Level.OK}

    def test_directories_that_can_be_written_are_left_as_they_were(self, context, tmp_path):
        (tmp_path / "state").mkdir()
        assert {finding.level for finding in storage.writable(context())} == {Level.OK}
        assert list((tmp_path / "state").iterdir()) == []

    def test_a_directory_that_cannot_be_written_is_an_error(self, context, tmp_path):
        (tmp_path / "state").mkdir()
        # Root may write anywhere; a folder of the probe's own name stops even root.
        (tmp_path / "state" / storage.PROBE).mkdir()
        found = storage.writable(context())
        assert [finding.level for finding in found] == [Level.ERROR, Level.OK]

    def test_a_directory_that_cannot_be_made_is_an_error(self, context, tmp_path):
        (tmp_path / "state").write_text("a file")
        found = storage.writable(context(TEXT.replace("state_dir: state", "state_dir: state/inside")))
        assert [finding.level for finding in found] == [Level.ERROR, Level.OK]

    @pytest.mark.parametrize(
        ("keys", "level"),
        [
            ("min_free_bytes: 0", Level.OK),
            ("min_free_bytes: 1099511627776", Level.ERROR),
        ],
    )
    def test_free_space(self, context, keys, level):
        only(storage.space(context(TEXT.replace("min_free_bytes: 0", keys))), level)

    def test_too_little_for_a_long_outage_is_a_warning(self, context):
        only(storage.space(context(TEXT + "outbox: {limit_bytes: 1099511627776}\n")), Level.WARNING)


class TestClock:
    def test_what_timesyncd_says_counts(self, context, tmp_path):
        (tmp_path / "run/systemd/timesync").mkdir(parents=True)
        (tmp_path / "run/systemd/timesync/synchronized").touch()
        only(moment.synchronised(replace(context(), root=tmp_path)), Level.OK)

    def test_an_unsynchronised_clock_is_a_warning_at_most(self, context):
        (finding,) = moment.synchronised(context())
        assert finding.level in (Level.OK, Level.WARNING)

    def test_a_clock_from_before_our_time_is_an_error(self, context):
        start = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc).timestamp()
        only(moment.synchronised(context(clock=FakeClock(utc_s=start))), Level.ERROR)

    def test_asking_the_kernel_changes_nothing_and_gives_an_answer(self):
        assert moment.kernel_synchronised() in (True, False)


class TestPermissions:
    def keyed(self, context, tmp_path, mode: int) -> Context:
        for name in ("gw.crt", "gw.key"):
            (tmp_path / name).write_text("x")
        (tmp_path / "gw.key").chmod(mode)
        return context(TEXT.replace("127.0.0.1:1'", "127.0.0.1:1', cert_file: gw.crt, key_file: gw.key"))

    def test_a_private_key_is_private(self, context, tmp_path):
        only(permissions.private(self.keyed(context, tmp_path, 0o640)), Level.OK)
        only(permissions.private(self.keyed(context, tmp_path, 0o644)), Level.WARNING)

    def test_files_that_are_missing_are_errors(self, context, tmp_path):
        given = self.keyed(context, tmp_path, 0o600)
        (tmp_path / "gw.crt").unlink()
        (tmp_path / "gw.key").unlink()
        only(permissions.readable(given), Level.ERROR)
        only(permissions.private(given), Level.ERROR)

    def test_the_group_video_matters_only_for_v4l2(self, context):
        only(permissions.video_group(context()), Level.OK)
        (finding,) = permissions.video_group(context(TEXT.replace("synthetic:scratches", "v4l2:/dev/video0")))
        assert finding.level in (Level.OK, Level.WARNING)
