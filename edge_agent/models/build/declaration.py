"""What a user says of a network of his own: one YAML file beside it, read as strictly as the configuration.

    model.yaml --nodes--> tree --validate--> Declaration | every fault with file, line, column, and what fits

docs/models.md has an example of each kind; `edge-agent models example KIND` writes one that runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, ValidationInfo, field_validator

from edge_agent.config import nodes
from edge_agent.config.faults import InvalidConfigError, Place, fault_at
from edge_agent.config.keys import REQUIRED, FilePath, Section, key, refuse
from edge_agent.config.validate import faults, values
from edge_agent.models.network_manifest import ANOMALY, CLASSIFIER, DETECTOR, FLOAT

Flavour = Literal["fp32", "u8s8", "symmetric"]
Label = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
Triple = tuple[float, float, float]


class InputKeys(Section):
    """What the network was trained to take. The gateway hands in uint8 [h, w, 3] BGR; the rest is built into the file.

    Each value becomes (value / scale - mean) / std, as in training.
    """

    size_px: tuple[int, int] | None = key(
        None, "[height, width]; null takes the file's own.", expected="[height, width], each 16 to 1024"
    )
    layout: Literal["nchw", "nhwc"] = key("nchw", "Order of the axes.")
    colour: Literal["rgb", "bgr", "grey"] = key("rgb", "Order of the channels, or one grey channel.")
    scale: float = key(255.0, "Each pixel is divided by this first.", gt=0, le=1e6)
    mean: Triple = key((0.0, 0.0, 0.0), "Then this is subtracted, per channel in the network's order.")
    std: Triple = key((1.0, 1.0, 1.0), "Then it is divided by this, per channel in the network's order.")
    letterbox: bool = key(False, "Keep the proportions and fill up with grey, as YOLO trains; else stretch.")

    @field_validator("size_px")
    @classmethod
    def _a_size_is_in_bounds(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not all(16 <= side <= 1024 for side in value):
            raise refuse("[height, width], each 16 to 1024")
        return value

    @field_validator("std")
    @classmethod
    def _nothing_is_divided_by_zero(cls, value: Triple) -> Triple:
        if not all(side > 0 for side in value):
            raise refuse("three numbers above 0")
        return value


class ClassifierKeys(Section):
    """How a classifier's output is read."""

    output: str | None = key(None, "Its name; null where the network has one output.")
    gives: Literal["logits", "probabilities"] = key(
        "logits", "Logits get a softmax; probabilities (each 0 to 1, together 1) are taken as they are."
    )


class AnomalyKeys(Section):
    """How an anomaly model's outputs are read."""

    score: str | None = key(None, "Output with the score; null takes the highest value of the map.")
    map: str | None = key(None, "Output with the map; null where only one output has height and width.")
    score_good: float = key(REQUIRED, "What good parts give: becomes 0 (linear) or 0.05 (logistic).", example=0.2)
    score_bad: float = key(REQUIRED, "What clear anomalies give: becomes 1 (linear) or 0.95 (logistic).", example=0.8)
    curve: Literal["linear", "logistic"] = key("linear", "How the score runs between the two.")
    map_quiet: float | None = key(None, "Places of the map up to this say nothing; null takes `score_good`.")

    @field_validator("score_bad")
    @classmethod
    def _bad_is_above_good(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("score_good", float("-inf")):
            raise refuse(
                "a number above score_good", "a network whose score falls with anomalies needs its sign turned"
            )
        return value


class DetectorKeys(Section):
    """How a detector's output is read."""

    form: Literal["yolov5", "yolov8", "rows"] = key(
        REQUIRED,
        "`yolov5`: [1, N, 5 + classes] with objectness (also v6, v7, X); `yolov8`: [1, 4 + classes, N] (also v9 to "
        "v12, RT-DETR); `rows`: suppressed inside, one row a find.",
        example="yolov8",
    )
    output: str | None = key(None, "Its name; null where the network has one output.")
    columns: tuple[Literal["x1", "y1", "x2", "y2", "score", "class", "batch", "-"], ...] = key(
        ("x1", "y1", "x2", "y2", "score", "class"),
        "Of `rows`: what stands in each column; `-` for one that does not matter.",
        expected="a list with x1, y1, x2, y2, score and class once each",
    )
    coordinates: Literal["pixels", "fractions"] = key("pixels", "Unit of the boxes: of the network's input.")
    score_min: float = key(0.25, "What is less sure is not seen.", ge=0.001, le=1)
    iou_max: float = key(0.5, "Of boxes of one class that overlap by more, the surest stays.", ge=0, le=1)
    required: Mapping[Label, int] = key(
        {}, "How many of a class a good part shows at least.", example={"screw": 4}, max_length=256
    )

    @field_validator("columns")
    @classmethod
    def _every_column_that_is_needed_is_there_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(value.count(name) != 1 for name in ("x1", "y1", "x2", "y2", "score", "class")):
            raise refuse("a list with x1, y1, x2, y2, score and class once each")
        return value


class Declaration(Section):
    """One network, in one or more flavours, and how it is used."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")] = key(
        REQUIRED, "Name of the model, as cameras name it.", expected="1 to 32 of a-z, 0-9 and -", example="screws"
    )
    version: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = key(
        "1", "Version of the bundle."
    )
    kind: Literal["classifier", "anomaly", "detector"] = key(REQUIRED, "What it is.", example="detector")
    networks: Mapping[Flavour, FilePath] = key(
        REQUIRED,
        "ONNX files by flavour: fp32 always; u8s8 and symmetric where you quantised them. Paths start at this file.",
        expected="a map with fp32, and u8s8 or symmetric where there is one",
        example={"fp32": "best.onnx"},
        min_length=1,
    )
    classes: tuple[Label, ...] = key(
        (),
        "In the order of the network's outputs; an anomaly model has none.",
        max_length=256,
        example=("screw", "dent"),
    )
    good: tuple[Label, ...] = key((), "Classes of a good part; of a detector those that are no defect.", max_length=256)
    threshold: float = key(0.5, "Score from which a part FAILs, where the camera says nothing else.", ge=0, le=1)
    hold_below: float | None = key(None, "Score below which a part PASSes; null: `threshold`, no HOLD.", ge=0, le=1)
    input: InputKeys = Field(default=InputKeys(), description="What the network takes.")
    classifier: ClassifierKeys | None = Field(default=None, description="For kind classifier.")
    anomaly: AnomalyKeys | None = Field(default=None, description="For kind anomaly.")
    detector: DetectorKeys | None = Field(default=None, description="For kind detector.")
    golden: FilePath | None = key(
        None, "Folder with 1 to 16 pictures that must give the same everywhere; null makes some."
    )
    licences: tuple[str, ...] = key((), "Licences of network and weights, for the record.", max_length=16)

    @property
    def band(self) -> float:
        """`hold_below` in force."""
        return self.threshold if self.hold_below is None else self.hold_below

    @field_validator("networks")
    @classmethod
    def _there_is_a_float_file(cls, value: Mapping[str, Path]) -> Mapping[str, Path]:
        if FLOAT not in value:
            raise refuse("a map with fp32, and u8s8 or symmetric where there is one")
        return value

    @field_validator("classes")
    @classmethod
    def _classes_differ_and_exist(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        kind = info.data.get("kind")
        if len(set(value)) != len(value):
            raise refuse("names that are all different")
        if kind == ANOMALY and value:
            raise refuse("no classes", "an anomaly model says ok or anomaly")
        if kind in (CLASSIFIER, DETECTOR) and not value:
            raise refuse("the names of the classes, in the order of the network's outputs")
        return value

    @field_validator("good")
    @classmethod
    def _good_classes_are_classes(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        strangers = [name for name in value if name not in info.data.get("classes", value)]
        if strangers:
            raise refuse(f"names that are among the classes, not {', '.join(strangers)}")
        return value

    @field_validator("hold_below")
    @classmethod
    def _the_band_lies_below_the_threshold(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and value > info.data.get("threshold", 1.0):
            raise refuse("at most threshold")
        return value

    @field_validator("classifier", "anomaly", "detector")
    @classmethod
    def _only_the_section_of_its_kind(cls, value: Section | None, info: ValidationInfo) -> Section | None:
        if value is not None and info.data.get("kind", info.field_name) != info.field_name:
            raise refuse(f"no section {info.field_name}", f"this is a {info.data['kind']}")
        return value

    @field_validator("detector")
    @classmethod
    def _what_is_required_is_good(cls, value: DetectorKeys | None, info: ValidationInfo) -> DetectorKeys | None:
        strangers = sorted(set(value.required) - set(info.data.get("good", value.required))) if value else []
        if strangers:
            raise refuse(f"required classes that are good, not {', '.join(strangers)}", "add them to `good`")
        return value


def load(path: Path) -> Declaration:
    """The declaration in a file.

    Raises:
        InvalidConfigError: it cannot be read or has faults; every fault with its place.
    """
    top = Place(file=str(path), line=1, column=1)
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "`edge-agent models example detector --to DIR` writes one"
        raise InvalidConfigError([fault_at(top, "", error.strerror or "a fault", "a declaration", hint)]) from error
    tree = nodes.read(content, str(path))
    plain, found = values(tree, lambda *_: "")
    if found:
        raise InvalidConfigError(found)
    try:
        declared = Declaration.model_validate(plain, context={"directory": path.absolute().parent})
    except ValidationError as error:
        raise InvalidConfigError(faults(error, tree, _schema())) from error
    if declared.kind != CLASSIFIER and getattr(declared, declared.kind) is None:
        expected = f"a section {declared.kind}, which says how the outputs are read"
        raise InvalidConfigError([fault_at(tree.place, declared.kind, "nothing", expected)])
    return declared


@cache
def _schema() -> dict[str, Any]:
    return Declaration.model_json_schema()
