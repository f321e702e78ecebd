"""Every key of the configuration: its type, default, bounds and meaning. The reference page is generated from here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import PlainSerializer, SecretStr, StringConstraints, ValidationInfo, field_validator
from pydantic.json_schema import WithJsonSchema

from edge_agent.config.controls import ControlKeys, unlockable
from edge_agent.config.evidence import Keeping
from edge_agent.config.faults import did_you_mean
from edge_agent.config.keys import REQUIRED, AddressBook, Apply, FilePath, Section, key, refuse
from edge_agent.config.redact import HIDDEN, redact
from edge_agent.config.shapes import SHAPE, Shape

MIB = 1024 * 1024

NAME_PATTERN = r"^[a-z0-9-]{1,32}$"
NAME = "1 to 32 of a-z, 0-9 and -"
Name = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN),
    WithJsonSchema({"type": "string", "pattern": NAME_PATTERN, "x-expected": NAME}),
]
Check = Literal["frozen", "repeated", "dark", "overexposed", "blurred", "moved"]
# A level of an MQTT topic that no broker and no ACL pattern misreads: no / + # $, no spaces.
LEVEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
LEVEL = "1 to 64 letters, digits, _ . or - (it becomes a level of every topic)"
Level = Annotated[
    str,
    StringConstraints(pattern=LEVEL_PATTERN),
    WithJsonSchema({"type": "string", "pattern": LEVEL_PATTERN, "x-expected": LEVEL}),
]
# As it comes with a trigger: a word of the line's own.
RECIPE_PATTERN = r"^[^\x00-\x1f\x7f]{1,64}$"
RecipeName = Annotated[
    str,
    StringConstraints(pattern=RECIPE_PATTERN),
    WithJsonSchema({"type": "string", "pattern": RECIPE_PATTERN, "x-expected": "1 to 64 characters"}),
]
Password = Annotated[
    SecretStr,
    PlainSerializer(lambda _: HIDDEN, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "x-expected": "!secret NAME"}),
]
# An address that may hold credentials: never printed with them.
Address = Annotated[str, PlainSerializer(redact, when_used="json")]


class Site(Section):
    """Where this gateway stands; the first levels of every topic."""

    enterprise: Level = key(REQUIRED, "The company.", example="acme")
    plant: Level = key(REQUIRED, "The plant.", example="lyon")
    area: Level | None = key(None, "The area, hall or line inside the plant; a third level when given.")
    gateway: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] = key(
        REQUIRED,
        "This gateway. The broker's ACL compares it with the common name of the client certificate.",
        expected="1 to 64 of a-z, 0-9 and -",
        example="gw-07",
    )

    @property
    def root(self) -> str:
        """The levels above the gateway: `acme/lyon`."""
        return "/".join(level for level in (self.enterprise, self.plant, self.area) if level)


class Inspection(Section):
    """How parts are judged. What stands here holds for every camera; a camera may repeat any key."""

    mode: Literal["auto", "trained", "good-only"] = key(
        "auto",
        "`trained` judges with the head of the model; `good-only` takes the first parts as good, flags what is unlike "
        "them; `auto` uses a trained head when the model has one for this camera and otherwise starts good-only.",
        apply=Apply.LIVE,
    )
    threshold: float | None = key(
        None,
        "Probability of a defect from which a part FAILs; null takes the model's own.",
        apply=Apply.LIVE,
        ge=0,
        le=1,
    )
    hold_below: float | None = key(
        None,
        "Probability of a defect below which a part PASSes; between this and `threshold` it is a HOLD. Null takes the "
        "model's own.",
        apply=Apply.LIVE,
        ge=0,
        le=1,
    )
    n_of_m: tuple[int, int] = key(
        (1, 1),
        "[n, m]: a FAIL needs n of the last m frames at the threshold; keep [1, 1] where a part is seen once.",
        apply=Apply.LIVE,
        expected="[n, m] with 1 <= n <= m <= 100",
        example=(2, 3),
    )
    hysteresis: float = key(
        0.0, "After a FAIL the threshold is lower by this until a part stays below it.", apply=Apply.LIVE, ge=0, le=1
    )
    good_only_parts: int = key(
        50, "Parts taken as good at a good-only start; they are HOLD (learning).", apply=Apply.LIVE, ge=10, le=10_000
    )

    @field_validator("hold_below")
    @classmethod
    def _the_band_lies_below_the_threshold(cls, value: float | None, info: ValidationInfo) -> float | None:
        threshold = info.data.get("threshold")
        if value is not None and threshold is not None and value > threshold:
            raise refuse(f"at most threshold ({threshold})", "a part is HOLD from hold_below up to threshold")
        return value

    @field_validator("n_of_m")
    @classmethod
    def _n_is_not_above_m(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1] <= 100:
            raise refuse("[n, m] with 1 <= n <= m <= 100")
        return value


class Camera(Inspection):
    """One camera. It may repeat any key of `inspection`, which then holds for this camera alone."""

    source: Address = key(
        REQUIRED,
        "Where frames come from: `rtsp://HOST/PATH`, `http://HOST/PATH` (MJPEG), `v4l2:/dev/v4l/by-id/NAME` (or "
        "by-path), `csi:SENSOR`, `genicam:SERIAL`, `gstreamer:PIPELINE`, `folder:DIR`, `video:FILE`, `synthetic:KIND`.",
        apply=Apply.CAMERA,
        example="rtsp://10.0.0.12/stream1",
        min_length=1,
        max_length=4096,
        repr=False,
    )
    username: str | None = key(
        None, "User of a network camera (rtsp, http).", apply=Apply.CAMERA, min_length=1, max_length=255
    )
    password: Password | None = key(None, "Password of a network camera.", apply=Apply.CAMERA, example="!secret NAME")
    tls_verify: bool = key(
        True, "Check the certificate of an https:// camera; false takes one that nobody signed.", apply=Apply.CAMERA
    )
    controls: ControlKeys | None = key(
        None,
        "What the camera is to hold still; a lock that does not hold is an alarm.",
        apply=Apply.CAMERA,
        expected="a map of exposure_us, gain_db, gain_raw, white_balance_k and focus",
        example={"exposure_us": 2000, "white_balance_k": 5000},
    )
    onvif: Address | None = key(
        None,
        "ONVIF service of a network camera: asked at each connection which camera it is (maker, model, serial number, "
        "firmware), with `username` and `password`.",
        apply=Apply.CAMERA,
        expected="http://HOST[:PORT]/onvif/device_service",
        example="http://10.0.0.12/onvif/device_service",
        max_length=1024,
        repr=False,
    )
    fps: float = key(10.0, "Frames per second that are judged at most.", apply=Apply.CAMERA, ge=0.1, le=1000)
    roi: Shape | None = key(
        None,
        "The region that is judged: [x, y, width, height] or a list of points [x, y], in fractions of the frame.",
        apply=Apply.CAMERA,
        expected=SHAPE,
        example=(0.1, 0.1, 0.8, 0.8),
    )
    mask: tuple[Shape, ...] = key(
        (),
        "Regions that are blacked out before anything looks at the frame.",
        apply=Apply.CAMERA,
        expected="a list of regions, each " + SHAPE,
        max_length=32,
    )
    rotation: Literal[0, 90, 180, 270] = key(0, "Degrees the frame is turned clockwise.", apply=Apply.CAMERA)
    model: Name = key(
        "surface", "The model that judges this camera (`edge-agent models` lists them).", apply=Apply.LIVE
    )
    models: tuple[Name, ...] = key(
        (),
        "Further models that judge every picture beside `model`, with their own thresholds; the worst verdict counts.",
        apply=Apply.LIVE,
        expected="a list of up to 7 names of models, none twice and none that is `model`",
        example=("screws", "seal"),
        max_length=7,
    )
    recipes: Mapping[RecipeName, Name] = key(
        {},
        "Which model judges in place of `model` when the trigger names a recipe; a recipe that is not here is a HOLD. "
        "Empty: recipes change nothing.",
        apply=Apply.LIVE,
        expected="a map from up to 256 recipes to names of models",
        example={"A12": "lid", "B7": "lid-black"},
        max_length=256,
    )
    stall_s: float = key(
        3.0, "Without a frame for so long the camera is stalled and reopened.", apply=Apply.CAMERA, ge=0.5, le=300
    )
    open_timeout_s: float = key(5.0, "Longest wait for a network camera to open.", apply=Apply.CAMERA, ge=0.5, le=60)
    read_timeout_s: float = key(
        2.0, "Longest wait for one frame of a network camera.", apply=Apply.CAMERA, ge=0.1, le=60
    )
    decode: Literal["auto", "software", "hardware"] = key(
        "auto",
        "How an rtsp:// stream is decoded: `hardware` by the pipeline of the device profile, `software` on the CPU; "
        "`auto` by hardware where the profile has a pipeline and it works.",
        apply=Apply.CAMERA,
    )
    queue: int = key(
        2, "Frames that may wait to be judged; `load` says what happens to more.", apply=Apply.CAMERA, ge=1, le=64
    )
    load: Literal["auto", "latest", "all"] = key(
        "auto",
        "When frames come faster than they are judged: `latest` makes the oldest that waits a HOLD (overload), `all` "
        "makes the source wait; `auto` is `latest` for cameras and `all` for files.",
        apply=Apply.CAMERA,
    )
    every_nth: int = key(
        1,
        "Only each n-th picture is judged, before `fps` counts; the others are skipped. A triggered picture always is.",
        apply=Apply.CAMERA,
        ge=1,
        le=1000,
    )
    evidence: Keeping | None = key(
        None,
        "Which pictures of this camera are kept, where that differs from the section `evidence`: any of its keys from "
        "`keep` to `format`.",
        apply=Apply.LIVE,
        expected="a map of keys of evidence",
        example={"pass_share": 0.02},
    )
    health: tuple[Check, ...] | None = key(
        None,
        "What is checked of the picture itself; each that fails is a HOLD and an alarm. Null: all for cameras and "
        "watched folders, nothing for files, loops and the built-in line. [] checks nothing (docs/capture.md).",
        apply=Apply.CAMERA,
        example=("dark", "overexposed", "blurred", "moved"),
        max_length=6,
    )
    health_frames: int = key(
        30,
        "Sound pictures from which the checks learn what this camera's pictures are like.",
        apply=Apply.CAMERA,
        ge=10,
        le=200,
    )
    trigger: Address | None = key(
        None,
        "What asks for a picture: null runs freely; `mqtt`, `modbus://HOST/coil/N` (polled), "
        "`modbus-server://ADDRESS:PORT/coil/N`, `gpio:/dev/gpiochip0/LINE`, `socket:NAME` (docs/line.md).",
        apply=Apply.CAMERA,
        example="modbus://10.0.0.20/coil/0?part=holding/20:8&ack=coil/1",
        min_length=1,
        max_length=1024,
    )
    trigger_delay_ms: int = key(
        0,
        "A picture counts from so long after its trigger: the way from sensor to camera.",
        apply=Apply.CAMERA,
        ge=0,
        le=60_000,
    )
    trigger_timeout_ms: int = key(
        1000,
        "From then on a picture has to come within this, or the part is a HOLD (no-picture).",
        apply=Apply.CAMERA,
        ge=1,
        le=600_000,
    )
    verdict_within_ms: int | None = key(
        None,
        "A verdict later than this after the trigger (without one: after the picture) is a HOLD (late).",
        apply=Apply.CAMERA,
        ge=1,
        le=600_000,
    )

    @property
    def model_names(self) -> tuple[str, ...]:
        """Every model that judges this camera, `model` first, none twice."""
        return tuple(dict.fromkeys((self.model, *self.models, *self.recipes.values())))

    @field_validator("models")
    @classmethod
    def _no_model_stands_twice(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len({info.data.get("model"), *value}) <= len(value):
            raise refuse("a list of up to 7 names of models, none twice and none that is `model`")
        return value

    @field_validator("source")
    @classmethod
    def _the_source_can_be_read(cls, value: str, info: ValidationInfo) -> str:
        problem = address_fault("source", value, info)
        if problem:
            raise refuse("a source", problem)
        return value

    @field_validator("trigger")
    @classmethod
    def _the_trigger_can_be_heard(cls, value: str | None, info: ValidationInfo) -> str | None:
        problem = None if value is None else address_fault("trigger", value, info)
        if problem:
            raise refuse("a trigger", problem)
        return value

    @field_validator("controls")
    @classmethod
    def _the_camera_can_lock_it(cls, value: ControlKeys | None, info: ValidationInfo) -> ControlKeys | None:
        source = info.data.get("source")
        if value is not None and source is not None and (found := unlockable(source, value)) is not None:
            raise refuse(f"no {found[0]}", found[1])
        return value

    @field_validator("onvif")
    @classmethod
    def _onvif_is_an_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[!-~]*)?", value):
            raise refuse("http://HOST[:PORT]/onvif/device_service", "the login stands in username and password")
        source = info.data.get("source")
        if source is not None and not re.match(r"((rtsp|http)s?://|gstreamer:)", source):
            raise refuse("no onvif", "only network cameras speak ONVIF")
        return value

    @field_validator("load")
    @classmethod
    def _a_camera_does_not_wait(cls, value: str, info: ValidationInfo) -> str:
        source = info.data.get("source")
        if value == "all" and source is not None and not re.match(r"(folder|video|synthetic):", source):
            raise refuse("auto or latest", "a camera does not wait: its driver would drop pictures that nobody counts")
        return value

    @field_validator("username")
    @classmethod
    def _only_streams_have_users(cls, value: str | None, info: ValidationInfo) -> str | None:
        source = info.data.get("source")
        if value is not None and source is not None and not re.match(r"(rtsp|http)s?://", source):
            raise refuse("no username", "only network cameras (rtsp://, http://) have a user and a password")
        return value

    @field_validator("password")
    @classmethod
    def _a_password_has_a_user(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and "username" in info.data and info.data["username"] is None:
            raise refuse("username beside it")
        return value


def address_fault(kind: str, text: str, info: ValidationInfo) -> str | None:
    """What is wrong with an address, as those who know say; None when nothing is, or nobody was asked."""
    addresses: AddressBook | None = (info.context or {}).get("addresses")
    return None if addresses is None else addresses.fault(kind, text)


class Models(Section):
    """Model bundles: what may come in and how it runs."""

    precision: Literal["auto", "int8", "fp32"] = key(
        "auto", "`auto` takes the flavour that the device profile names.", apply=Apply.RESTART
    )
    bundle_limit_bytes: int = key(
        256 * MIB, "Largest bundle that is accepted.", apply=Apply.RESTART, ge=MIB, le=4096 * MIB
    )
    vet_timeout_s: float = key(
        60.0, "Longest dry run of a new model in its own process.", apply=Apply.RESTART, ge=1, le=1800
    )


class Mqtt(Section):
    """The broker."""

    url: str = key(
        REQUIRED,
        "Address of the broker: mqtts:// (TLS), mqtt://, wss:// or ws://.",
        apply=Apply.CONNECTION,
        expected="mqtts://HOST[:PORT], mqtt://HOST[:PORT], wss://HOST[:PORT][/PATH] or ws://HOST[:PORT][/PATH]",
        example="mqtts://broker.plant.local:8883",
        max_length=1024,
        repr=False,
    )
    username: str | None = key(None, "User name, where the broker asks for one.", apply=Apply.CONNECTION, min_length=1)
    password: Password | None = key(None, "Password.", apply=Apply.CONNECTION, example="!secret NAME")
    ca_file: FilePath | None = key(
        None, "Certificates that sign the broker's; null takes the system's.", apply=Apply.CONNECTION
    )
    cert_file: FilePath | None = key(None, "Client certificate (PEM).", apply=Apply.CONNECTION, validate_default=True)
    key_file: FilePath | None = key(
        None, "Private key of the client certificate (PEM).", apply=Apply.CONNECTION, validate_default=True
    )
    protocol: Literal[5, 311] = key(
        5, "MQTT version: 5, or 311 for 3.1.1, which hides refused messages.", apply=Apply.CONNECTION
    )
    keepalive_s: int = key(30, "A silent connection is checked this often.", apply=Apply.CONNECTION, ge=5, le=3600)
    session_expiry_s: int = key(
        86_400,
        "The broker keeps our subscriptions and commands for so long while we are away.",
        apply=Apply.CONNECTION,
        ge=0,
        le=2_592_000,
    )
    connect_timeout_s: float = key(10.0, "Longest wait for a connection.", apply=Apply.CONNECTION, ge=1, le=120)
    in_flight: int = key(20, "Messages sent and not yet acknowledged, at most.", apply=Apply.CONNECTION, ge=1, le=1000)
    root: str | None = key(
        None,
        "Levels above the gateway in every topic; null makes them from `site`.",
        apply=Apply.CONNECTION,
        expected="one to three levels such as acme/lyon/press-shop",
        example="acme/lyon",
        max_length=128,
    )

    @field_validator("url")
    @classmethod
    def _the_url_names_a_broker(cls, value: str) -> str:
        match = re.fullmatch(
            r"(mqtts?|wss?)://([^/?#\s]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:([0-9]{1,5}))?(/[^\s#]*)?", value
        )
        if not match or not 0 < int(match[5] or 1) < 65_536:
            raise refuse("mqtts://HOST[:PORT], mqtt://HOST[:PORT], wss://HOST[:PORT][/PATH] or ws://HOST[:PORT][/PATH]")
        if match[2]:
            raise refuse("an address without user and password", "write them as mqtt.username and mqtt.password")
        if match[6] not in (None, "/") and match[1].startswith("mqtt"):
            raise refuse("an address without a path", "topics are made from site; mqtt.root changes their first levels")
        return value

    @field_validator("key_file")
    @classmethod
    def _certificate_and_key_come_together(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
            raise refuse("cert_file and key_file together" if value else "key_file beside cert_file")
        return value

    @field_validator("root")
    @classmethod
    def _the_root_is_a_topic(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*){0,2}", value
        ):
            raise refuse("one to three levels such as acme/lyon/press-shop")
        return value


class Outbox(Section):
    """What waits for the broker, on disk."""

    limit_bytes: int = key(
        512 * MIB,
        "Space for waiting messages; beyond it the least important go first.",
        apply=Apply.RESTART,
        ge=MIB,
        le=1024 * 1024 * MIB,
    )
    max_age_days: float = key(
        30.0, "Older messages are dropped and counted; alarms are kept.", apply=Apply.RESTART, gt=0, le=3650
    )
    commit_window_ms: int = key(
        20, "Verdicts of so many milliseconds share one write to disk.", apply=Apply.RESTART, ge=0, le=1000
    )


class Telemetry(Section):
    """Numbers that are sent regularly."""

    interval_s: float = key(
        10.0, "Seconds between live numbers (temperatures, fps, latency, queues).", apply=Apply.LIVE, ge=1, le=3600
    )
    summary_interval_s: float = key(
        60.0, "Seconds between retained summaries of each camera.", apply=Apply.LIVE, ge=1, le=86_400
    )


class DeviceKeys(Section):
    """The machine we run on."""

    profile: str = key(
        "auto",
        "`auto` detects the device; a name of a profile overrides it (docs/devices.md).",
        expected="auto or the name of a profile",
    )
    providers: tuple[str, ...] | None = key(
        None,
        "Execution providers in order, instead of the profile's. One that is not really in use is an error.",
        example=("CPUExecutionProvider",),
        min_length=1,
        max_length=8,
    )
    threads: int | None = key(None, "Threads of inference, instead of the profile's.", ge=1, le=64)

    @field_validator("profile")
    @classmethod
    def _the_profile_exists(cls, value: str, info: ValidationInfo) -> str:
        known: tuple[str, ...] = (info.context or {}).get("profiles", ())
        if value != "auto" and known and value not in known:
            raise refuse("auto or one of " + ", ".join(known), did_you_mean(value, known))
        return value


class Storage(Section):
    """Where things are kept. Relative paths start at the folder of this file."""

    state_dir: FilePath = key(Path("/var/lib/edge-agent"), "What must survive a restart: outbox, models, counters.")
    runtime_dir: FilePath = key(Path("/run/edge-agent"), "What need not: status snapshots.")
    min_free_bytes: int = key(
        256 * MIB,
        "Below so much free space nothing optional is written and an alarm is raised.",
        apply=Apply.LIVE,
        ge=0,
        le=1024 * 1024 * MIB,
    )


class Logging(Section):
    """Messages on stderr."""

    level: Literal["debug", "info", "warning", "error"] = key(
        "info", "The least important that is shown.", apply=Apply.LIVE
    )
    format: Literal["auto", "journal", "text", "json"] = key(
        "auto", "`auto` is `journal` under systemd and `text` elsewhere."
    )
    repeat_s: float = key(
        60.0, "Repeats of one message within so many seconds are counted, not shown.", apply=Apply.LIVE, ge=0, le=86_400
    )
