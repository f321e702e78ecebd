"""Pictures judged one by one, by the same loop, lanes and rules as frames of a camera: for `edge-agent inspect`."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import Image, prepare_for, read_picture
from edge_agent.capture.view import EVERYTHING, View, apply
from edge_agent.clock import Clock
from edge_agent.config.camera import Camera
from edge_agent.config.sections import DeviceKeys, Models
from edge_agent.config.settings import Settings
from edge_agent.errors import BadBundleError, BadPictureError, ConfigError, TransientError
from edge_agent.inspect.lane import Judge, Lane, Seat, deciding, on_picture
from edge_agent.inspect.loop import InspectLoop
from edge_agent.models.loading import AnyModel
from edge_agent.models.store import ModelStore
from edge_agent.processes.cameras import view_of
from edge_agent.processes.goodonly_files import GoodOnlyFiles
from edge_agent.processes.lanes import LaneBook, Overrides
from edge_agent.processes.runtime_plan import RuntimePlan, plan_for
from edge_agent.records import Assessment, Frame, Inspection

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
STILL = "still"


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """One judged picture, or why it was not judged. `heat` is that of the model whose verdict counts."""

    path: Path
    inspection: Inspection | None
    fault: str | None
    image: Image | None = field(repr=False)
    heat: NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What pictures are judged with. `view` is applied first, as to frames of the camera it belongs to."""

    camera: str
    lane: Lane
    models: tuple[AnyModel, ...]
    view: View


def find_pictures(places: Sequence[Path]) -> list[Path]:
    """The files named, and those below the folders named, in order.

    Raises:
        BadPictureError: a place does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
            if not inside:
                raise BadPictureError(f"{place}: no pictures in it, expected {', '.join(sorted(PICTURES))}")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise BadPictureError(f"{place}: no such file or folder")
    return found


def bench_of_camera(settings: Settings, name: str) -> Bench:
    """Judge as the camera `name` of the configuration does: its model, rules, view, and what it learned good-only.

    Raises:
        ConfigError: no such camera.
        BadBundleError: its model cannot be used on this device.
    """
    if name not in settings.cameras:
        known = ", ".join(sorted(settings.cameras))
        raise ConfigError(f"no camera {name!r} in the configuration; the cameras are {known}")
    state_dir = settings.storage.state_dir
    plan = plan_for(settings.device, settings.models, state_dir, Path("/"), os.uname().machine)
    overrides = Overrides.read(state_dir / "overrides.json").settled(settings.cameras)
    return _bench(name, settings.cameras[name], state_dir, plan, overrides)


def bench_of_model(state_dir: Path, model: str) -> Bench:
    """Judge whole pictures with the active bundle of `model` and its own thresholds.

    Raises:
        BadBundleError: there is none, or it cannot be used on this device.
    """
    plan = plan_for(DeviceKeys(), Models(), state_dir, Path("/"), os.uname().machine)
    camera = Camera.model_validate({"source": "folder:.", "model": model, "mode": "trained"})
    return _bench(STILL, camera, state_dir, plan, Overrides())


def _bench(name: str, camera: Camera, state_dir: Path, plan: RuntimePlan, overrides: Overrides) -> Bench:
    if not (state_dir / "models").is_dir():
        raise BadBundleError(f"no models in {state_dir}; edge-agent models build --activate, or import DIR")
    store = ModelStore(state_dir / "models")
    models = {wanted: _active(store, wanted, plan) for wanted in camera.model_names}
    book = LaneBook(GoodOnlyFiles(state_dir / "good-only"))
    lanes = book.build({name: camera}, models, Overrides(thresholds=overrides.thresholds))
    view = EVERYTHING if name == STILL else view_of(camera)
    return Bench(camera=name, lane=lanes[name], models=tuple(models.values()), view=view)


def _active(store: ModelStore, name: str, plan: RuntimePlan) -> AnyModel:
    digest = store.active(name)
    if digest is None:
        raise BadBundleError(f"no bundle is active for model {name}; edge-agent models activate")
    return store.load(digest, plan.runtime, plan.flavour)


class _Listening:
    """An assessor, and what it said last: a picture is drawn with the heat that no inspection carries."""

    def __init__(self, judge: Judge, said: dict[str, Assessment]) -> None:
        self._judge = judge
        self._said = said

    def assess(self, answer: Any) -> Assessment:
        assessment = self._judge.assessor.assess(answer)
        self._said[self._judge.name] = assessment
        return assessment


def _heard(lane: Lane, said: dict[str, Assessment]) -> Lane:
    """The lane, whose judges' assessments are written into `said` by name."""

    def heard(seat: Seat) -> Seat:
        return dataclasses.replace(seat, assessor=_Listening(seat, said)) if isinstance(seat, Judge) else seat

    return dataclasses.replace(
        lane,
        first=heard(lane.first),
        others=tuple(heard(seat) for seat in lane.others),
        recipes={recipe: heard(seat) for recipe, seat in lane.recipes.items()},
    )


def _heat(lane: Lane, inspection: Inspection, said: dict[str, Assessment], image: Image) -> NDArray[np.float32] | None:
    """The heat of the model whose verdict counts, over the picture."""
    name = deciding(inspection.findings).name if inspection.findings else next(iter(said), "")
    seats = (lane.first, *lane.others, *lane.recipes.values())
    judge = next((seat for seat in seats if seat.name == name and isinstance(seat, Judge)), None)
    if judge is None or name not in said:
        return None
    return on_picture(said[name], judge.canvas, (image.shape[0], image.shape[1])).heat


def judge_stills(bench: Bench, paths: Sequence[Path], clock: Clock, recipe: str | None = None) -> Iterator[Still]:
    """Judge each picture, as a part of `recipe`; one that cannot be read says why and the next goes on."""
    said: dict[str, Assessment] = {}
    frames: _Frames = _Frames()
    found: list[Inspection] = []
    faults: list[str] = []
    loop = InspectLoop(
        frames=frames,
        lanes={bench.camera: _heard(bench.lane, said)},
        prepare=prepare_for,
        sinks=(found.append,),
        clock=clock,
        on_fault=lambda _camera, text: faults.append(text),
    )
    for number, path in enumerate(paths, start=1):
        try:
            image = apply(bench.view, read_picture(path))
        except (BadPictureError, TransientError) as error:
            yield Still(path=path, inspection=None, fault=str(error), image=None)
            continue
        frame = Frame(
            camera=bench.camera,
            sequence=number,
            captured_utc_s=clock.utc_s(),
            captured_mono_s=clock.mono_s(),
            image=image,
            path=str(path),
            recipe=recipe,
        )
        said.clear()
        frames.waiting.append(frame)
        loop.step(0.0)
        inspection = found.pop()
        heat = _heat(bench.lane, inspection, said, image)
        fault = faults.pop() if faults else None
        faults.clear()
        yield Still(path=path, inspection=inspection, fault=fault, image=image, heat=heat)


class _Frames:
    """The loop's source of frames: whatever was put in."""

    def __init__(self) -> None:
        self.waiting: deque[Frame] = deque()

    def get(self, timeout_s: float) -> Frame | None:
        del timeout_s  # nothing ever comes by itself
        return self.waiting.popleft() if self.waiting else None

    def done(self, frame: Frame) -> None:
        """Nobody counts."""
