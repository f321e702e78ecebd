"""From settings, loaded models and overrides to the lanes of the inspect loop: who judges which camera, and how."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.config.camera import Camera
from edge_agent.inspect.assessors import GoodOnlyAssessor, HeadAssessor
from edge_agent.inspect.decide import Rules, with_thresholds
from edge_agent.inspect.lane import Absent, Judge, Lane, Seat, Second
from edge_agent.models.loading import AnyModel, LoadedModel, shares_network
from edge_agent.models.network import LoadedNetwork
from edge_agent.processes.goodonly_files import GoodOnlyFiles
from edge_agent.storage import replace_file

log = logging.getLogger(__name__)

SYNTHETIC_HEAD = "synthetic-line"
SYNTHETIC_SCHEME = "synthetic:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What commands changed since the configuration was written.

    They survive a restart; editing the same key in the configuration ends them, also while the daemon is stopped: so
    `configured` remembers, for each threshold, what the configuration said when it was overridden.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    configured: Mapping[str, float | None] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()

    def with_threshold(self, name: str, value: float, camera: Camera) -> Overrides:
        """A command set this camera's threshold."""
        return dataclasses.replace(
            self,
            thresholds={**self.thresholds, name: value},
            configured={**self.configured, name: camera.threshold},
        )

    def settled(self, cameras: Mapping[str, Camera]) -> Overrides:
        """What still holds under this configuration: thresholds of cameras it has and whose own it did not change."""
        kept = {
            name: value
            for name, value in self.thresholds.items()
            if name in cameras and cameras[name].threshold == self.configured.get(name)
        }
        return dataclasses.replace(
            self,
            thresholds=kept,
            configured={name: self.configured.get(name) for name in kept},
            paused=self.paused & frozenset(cameras),
        )

    def write(self, file: Path) -> None:
        """Keep them.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: the command must not be called successful.
        """
        plain = {
            "thresholds": dict(self.thresholds),
            "configured": dict(self.configured),
            "paused": sorted(self.paused),
        }
        replace_file(file, json.dumps(plain).encode())

    @classmethod
    def read(cls, file: Path) -> Overrides:
        """The overrides in `file`; none when it is missing or damaged, which the log says."""
        try:
            value: Any = json.loads(file.read_bytes())
            thresholds = {str(name): float(number) for name, number in value["thresholds"].items()}
            configured = {
                str(name): None if number is None else float(number) for name, number in value["configured"].items()
            }
            paused = frozenset(str(name) for name in value["paused"])
            return cls(thresholds=thresholds, configured=configured, paused=paused)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("overrides=ignored file=%s reason=%s", file, error)
            return cls()


def uses_head(camera: Camera, model: LoadedModel) -> bool:
    """Whether the model's head judges this camera; otherwise it starts good-only (docs/decisions.md, 6)."""
    if camera.mode == "auto":
        return model.manifest.trained_on != SYNTHETIC_HEAD or camera.source.startswith(SYNTHETIC_SCHEME)
    return camera.mode == "trained"


def rules_of(camera: Camera, model: AnyModel, overridden: float | None) -> Rules:
    """The rules of a camera's first model: the model's thresholds, then the configured ones, then a command's."""
    rules = with_thresholds(own_rules(camera, model), camera.threshold, camera.hold_below)
    return with_thresholds(rules, overridden, None)


def own_rules(camera: Camera, model: AnyModel) -> Rules:
    """The rules of any other model of a camera: the model's thresholds, the camera's looks and hysteresis."""
    fails_needed, looks = camera.n_of_m
    rules = Rules(fails_needed=fails_needed, looks=looks, hysteresis=camera.hysteresis, hold_unlike=camera.hold_unlike)
    if isinstance(model, LoadedNetwork) or uses_head(camera, model):
        manifest = model.manifest
        rules = dataclasses.replace(rules, threshold=manifest.threshold, hold_below=manifest.hold_below)
    return rules


NOBODY: Mapping[str, AnyModel] = {}


@dataclass(frozen=True, slots=True)
class _Ground:
    """What an assessor stands on; while it stays the same, a good-only model goes on learning undisturbed."""

    digest: str
    head: bool
    wanted: int
    heat_from: float


class LaneBook:
    """Builds lanes; keeps the good-only models, which have learned something, from one building to the next: also
    where one judges beside a head on probation.
    """

    def __init__(self, files: GoodOnlyFiles) -> None:
        self._files = files
        self._assessors: dict[tuple[str, str, _Ground], HeadAssessor | GoodOnlyAssessor] = {}
        self._lanes: dict[str, Lane] = {}

    def build(
        self,
        cameras: Mapping[str, Camera],
        models: Mapping[str, AnyModel],
        overrides: Overrides,
        seconds: Mapping[str, AnyModel] = NOBODY,
    ) -> dict[str, Lane]:
        """The lane of every camera; `seconds` are models on trial, by the name of the one that they judge beside.

        Where a model is not loaded (yet), the one that judged in its place goes on, so that no part goes unjudged while
        another model is being loaded; without one the part is held.
        """
        self._lanes = {name: self._lane(name, camera, models, overrides, seconds) for name, camera in cameras.items()}
        used = {id(judge.assessor) for lane in self._lanes.values() for judge in _judges(lane)}
        self._assessors = {key: kept for key, kept in self._assessors.items() if id(kept) in used}
        return dict(self._lanes)

    def mode(self, camera: str) -> str:
        """What the status shows of the first model: head, good-only and how far learning is, or its kind."""
        first = self._lanes[camera].first if camera in self._lanes else None
        if not isinstance(first, Judge):
            return "no model"
        if isinstance(first.assessor, LoadedNetwork):
            return first.assessor.manifest.kind
        return first.assessor.mode if isinstance(first.assessor, (HeadAssessor, GoodOnlyAssessor)) else "no model"

    def _lane(
        self,
        name: str,
        camera: Camera,
        models: Mapping[str, AnyModel],
        overrides: Overrides,
        seconds: Mapping[str, AnyModel],
    ) -> Lane:
        before = self._lanes.get(name)
        overridden = overrides.thresholds.get(name)

        def seat(model_name: str, present: Seat | None, *, first: bool = False) -> Seat:
            model = models.get(model_name)
            if model is None:
                return present or Absent(name=model_name)
            rules = rules_of(camera, model, overridden) if first else own_rules(camera, model)
            return self._judge(name, camera, model, rules)

        def second(model_name: str) -> Second | None:
            model, other = models.get(model_name), seconds.get(model_name)
            if model is None or other is None:
                return None
            first = model_name == camera.model
            rules = rules_of(camera, other, overridden) if first else own_rules(camera, other)
            shares = shares_network(other.manifest, other.flavour, model)
            return Second(judge=self._judge(name, camera, other, rules), shares_network=shares)

        known = {found.name: found for found in before.others} if before else {}
        recipes = before.recipes if before else {}
        return Lane(
            first=seat(camera.model, before.first if before else None, first=True),
            others=tuple(seat(other, known.get(other)) for other in camera.models),
            recipes={recipe: seat(other, recipes.get(recipe)) for recipe, other in camera.recipes.items()},
            paused=name in overrides.paused,
            seconds={
                model_name: found for model_name in camera.model_names if (found := second(model_name)) is not None
            },
        )

    def _judge(self, camera_name: str, camera: Camera, model: AnyModel, rules: Rules) -> Judge:
        return Judge(
            name=model.manifest.name,
            digest=model.digest,
            canvas=model.canvas,
            look=model.network.run if isinstance(model, LoadedNetwork) else model.encoder.encode,
            assessor=model if isinstance(model, LoadedNetwork) else self._assessor(camera_name, camera, model, rules),
            rules=rules,
        )

    def _assessor(self, name: str, camera: Camera, model: LoadedModel, rules: Rules) -> HeadAssessor | GoodOnlyAssessor:
        head = uses_head(camera, model)
        encoder_digest = model.manifest.encoder(model.flavour).sha256
        # A new head on the same encoder must not make a good-only camera learn again.
        ground = _Ground(
            digest=model.digest if head else encoder_digest,
            head=head,
            wanted=camera.good_only_parts,
            # While failing the threshold is lower by the hysteresis; a part that may be held or failed is asked where.
            heat_from=min(rules.hold_below, rules.threshold - rules.hysteresis) if head else 0.0,
        )
        key = name, model.manifest.name, ground
        kept = self._assessors.get(key)
        if kept is not None:
            return kept
        if head:
            assessor: HeadAssessor | GoodOnlyAssessor = HeadAssessor(
                model.head, model.manifest.features.map_slice.start, ground.heat_from, model.familiar
            )
        else:
            # No camera's name has a dot: the file of a further model is nobody else's.
            file = name if model.manifest.name == camera.model else f"{name}.{model.manifest.name}"
            state = self._files.load(file, encoder_digest, camera.good_only_parts)
            assessor = GoodOnlyAssessor(state, lambda learned: self._files.save(file, learned))
        self._assessors[key] = assessor
        return assessor


def _judges(lane: Lane) -> list[Judge]:
    """Everybody who judges there, those on trial too."""
    seats = (lane.first, *lane.others, *lane.recipes.values(), *(second.judge for second in lane.seconds.values()))
    return [seat for seat in seats if isinstance(seat, Judge)]
