"""Keys of a camera: where its pictures come from, how they are judged, what asks for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationInfo, field_validator

from edge_agent.config.controls import ControlKeys, unlockable
from edge_agent.config.drift import DriftKeys
from edge_agent.config.evidence import Keeping
from edge_agent.config.keys import REQUIRED, Apply, Section, address_fault, key, refuse
from edge_agent.config.logins import Password, has_a_user
from edge_agent.config.shapes import SHAPE, Shape
from edge_agent.config.texts import Address, Name, Word

Check = Literal["frozen", "repeated", "dark", "overexposed", "blurred", "moved"]


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
    hold_unlike: float | None = key(
        None,
        "A part that would PASS is a HOLD (unsure) from so far outside what the model was taught; 1 is the limit that "
        "2 of 100 known parts reach. Null: it passes, and its picture is kept for a label (evidence, `unlike`).",
        apply=Apply.LIVE,
        ge=0.1,
        le=1000,
        example=1.5,
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
    recipes: Mapping[Word, Name] = key(
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
    drift: DriftKeys | None = key(
        None,
        "How slow changes of light, lens, place, product or model are watched, each an alarm (docs/drift.md). Null: as "
        "the keys' defaults say.",
        apply=Apply.CAMERA,
        expected="a map of enabled, frames and tolerance",
        example={"tolerance": 2.0},
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

    _a_password_has_a_user = field_validator("password")(has_a_user)
