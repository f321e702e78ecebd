"""Vetted ONNX files in ONNX Runtime sessions, and the only place where a gateway touches ONNX Runtime.

    picture uint8 [h, w, 3] BGR -> session -> arrays by name       an encoder's: vector float32 [D], map [h', w', C]

ONNX Runtime likes to fall back: a provider it cannot load becomes a warning and a CPU session that is slow without
saying so (onnxruntime issue 23372). Here a provider that was asked for and is not in use is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edge_agent.errors import BadBundleError, BadPictureError, InferenceError, ProviderError
from edge_agent.records import Features

# The contract between an encoder file and us; `edge_agent.models.vet` holds a file to it before it comes here.
INPUT_NAME = "picture"
VECTOR_NAME = "vector"
MAP_NAME = "map"

# What ONNX Runtime raises has no common base but Exception (1.32: fourteen classes straight below it).
_ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoSuchFile,
    ort_state.NoModel,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    ort_state.EPFail,
    ort_state.EngineError,
    RuntimeError,
    ValueError,
)
_CPU = "CPUExecutionProvider"
# ONNX Runtime's own scale: "fatal". Lower, it writes to stderr what it raises as an error too, in colour.
_ORT_LOG_FATAL = 4
# How ONNX Runtime 1.16 to 1.32 begins the message of a plain Fail when an accelerator would leave work to the CPU.
_CPU_FALLBACK = "assigned to the default CPU EP"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How a session runs on this device.

    `providers` are ONNX Runtime execution providers with their options, most wanted first; each one must end up in use.
    Without CPUExecutionProvider among them, not one operator may fall back to it.
    One thread, no spinning: at 10 frames a second a spinning pool of two costs 45 % of a core for no gain in latency
    (measured on two cores of x86). `disable_arena` gives memory back after each run; at 224 px on x86 that costs more
    than it saves (85 MiB of RSS after 200 runs, 77 with the arena), so ask for it only where it was measured.
    `engine_cache` is the folder of this runtime and machine for what providers compile (`models.engines`).
    """

    providers: tuple[tuple[str, dict[str, str]], ...] = ((_CPU, {}),)
    intra_op_threads: int = 1
    allow_spinning: bool = False
    disable_arena: bool = False
    engine_cache: Path | None = None


class Session:
    """A vetted ONNX file that is loaded: one picture in, arrays of numbers out.

    Immutable once made, and safe to call from several threads at once. `outputs` are the shapes by name, None for a
    size that varies from picture to picture.
    """

    def __init__(self, session: ort.InferenceSession) -> None:
        self.bare = session  # for benchmarks that need the bare limit; nothing else may run it
        height, width, _ = session.get_inputs()[0].shape
        self.input_px: tuple[int, int] = (height, width)
        self.outputs: dict[str, tuple[int | None, ...]] = {
            output.name: tuple(size if isinstance(size, int) else None for size in output.shape)
            for output in session.get_outputs()
        }
        self.providers_in_use: tuple[str, ...] = tuple(session.get_providers())
        self._names = tuple(self.outputs)

    @classmethod
    def from_bytes(cls, onnx_bytes: bytes, runtime: RuntimeOptions) -> Session:
        """Load a vetted ONNX file.

        Raises:
            ProviderError: a provider that was asked for is not in this ONNX Runtime, or did not take the model.
            BadBundleError: ONNX Runtime refuses the file, or it does not turn one picture into numbers.
        """
        _require_available(runtime)
        session = _session(onnx_bytes, runtime)
        missing = [name for name, _ in runtime.providers if name not in session.get_providers()]
        if missing or session.get_providers()[0] != runtime.providers[0][0]:
            raise ProviderError(
                f"asked for {_names(runtime)}, in use are {', '.join(session.get_providers())}; "
                f"check the driver and the libraries of {', '.join(missing) or runtime.providers[0][0]}"
            )
        _require_picture_to_numbers(session)
        return cls(session)

    def run(self, picture: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """What the network gives, by name, for a prepared picture: uint8 [h, w, 3] BGR with (h, w) = `input_px`.

        Raises:
            BadPictureError: another shape or dtype.
            InferenceError: the execution provider failed while running.
        """
        if picture.dtype != np.uint8 or picture.shape != (*self.input_px, 3):
            raise BadPictureError(
                f"the model takes uint8 [{self.input_px[0]}, {self.input_px[1]}, 3], "
                f"the picture is {picture.dtype} {list(picture.shape)}"
            )
        try:
            found = self.bare.run(self._names, {INPUT_NAME: picture})
        except _ORT_ERRORS as error:
            raise InferenceError(f"{self.providers_in_use[0]} failed while running the model: {error}") from error
        return dict(zip(self._names, found, strict=True))


class Encoder:
    """One loaded encoder. Immutable once made, and safe to call from several threads at once."""

    def __init__(self, session: Session, dimension: int, map_shape: tuple[int, int, int]) -> None:
        self.session = session
        self.input_px = session.input_px
        self.dimension = dimension
        self.map_shape = map_shape
        self.providers_in_use = session.providers_in_use

    @classmethod
    def from_bytes(cls, onnx_bytes: bytes, runtime: RuntimeOptions) -> Encoder:
        """Load a vetted ONNX file.

        Raises:
            ProviderError: a provider that was asked for is not in this ONNX Runtime, or did not take the model.
            BadBundleError: ONNX Runtime refuses the file, or its inputs and outputs are not those of an encoder.
        """
        session = Session.from_bytes(onnx_bytes, runtime)
        match session.outputs.get(VECTOR_NAME), session.outputs.get(MAP_NAME), len(session.outputs):
            case (int(size),), (int(height), int(width), int(channels)), 2:
                return cls(session, size, (height, width, channels))
        raise BadBundleError(
            "an encoder takes `picture` uint8 [h, w, 3] and gives `vector` float32 [D] and `map` float32 [h', w', C]; "
            f"this one gives {session.outputs}"
        )

    @property
    def bare_session(self) -> ort.InferenceSession:
        """The session itself, for benchmarks that need the bare limit; nothing else may run it."""
        return self.session.bare

    def encode(self, picture: NDArray[np.uint8]) -> Features:
        """Features of a prepared picture, uint8 [h, w, 3] BGR with (h, w) = `input_px`.

        Raises:
            BadPictureError: another shape or dtype.
            InferenceError: the execution provider failed while running.
        """
        found = self.session.run(picture)
        return Features(vector=found[VECTOR_NAME], map=found[MAP_NAME])


def available_providers() -> tuple[str, ...]:
    """The execution providers that this build of ONNX Runtime knows, whether or not their hardware is there."""
    return tuple(ort.get_available_providers())


def onnxruntime_version() -> str:
    """The version of the ONNX Runtime that is loaded."""
    return str(ort.__version__)


def _require_available(runtime: RuntimeOptions) -> None:
    if not runtime.providers:
        raise ProviderError("no execution provider was asked for; name at least CPUExecutionProvider")
    unknown = [name for name, _ in runtime.providers if name not in available_providers()]
    if unknown:
        raise ProviderError(
            f"{', '.join(unknown)} is not part of the installed ONNX Runtime {ort.__version__}, which has "
            f"{', '.join(available_providers())}; install the wheel made for this device, or choose another profile"
        )


def _names(runtime: RuntimeOptions) -> str:
    return ", ".join(name for name, _ in runtime.providers)


def _session(onnx_bytes: bytes, runtime: RuntimeOptions) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = runtime.intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ORT_LOG_FATAL
    options.enable_cpu_mem_arena = not runtime.disable_arena
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if runtime.allow_spinning else "0")
    if _CPU not in dict(runtime.providers):
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(onnx_bytes, options, providers=list(runtime.providers), enable_fallback=0)
    except (ort_state.EPFail, ort_state.EngineError) as error:
        raise ProviderError(f"{_names(runtime)} could not take the model: {error}") from error
    except _ORT_ERRORS as error:
        if _CPU_FALLBACK in str(error):
            raise ProviderError(
                f"{_names(runtime)} would leave operators of the model to the CPU; "
                "choose a flavour made for it, or list CPUExecutionProvider last to allow that"
            ) from error
        raise BadBundleError(f"ONNX Runtime {ort.__version__} refuses the model: {error}") from error
    session.disable_fallback()
    # ONNX Runtime's Python side keeps the file's bytes for its fallback, which is off: 3 MiB for int8, 12 for fp32.
    session._model_bytes = None  # noqa: SLF001 - there is no public way to let go of them
    return session


def _require_picture_to_numbers(session: ort.InferenceSession) -> None:
    """The contract of every model: one picture of a fixed size in, float32 out."""
    inputs = {value.name: (value.type, value.shape) for value in session.get_inputs()}
    outputs = {value.name: (value.type, value.shape) for value in session.get_outputs()}
    kind, shape = inputs.get(INPUT_NAME, ("", []))
    fits = (
        len(inputs) == 1
        and kind == "tensor(uint8)"
        and len(shape) == 3
        and all(isinstance(size, int) for size in shape)
        and shape[2] == 3
        and all(kind == "tensor(float)" for kind, _ in outputs.values())
    )
    if not fits:
        raise BadBundleError(
            f"a model takes `picture` uint8 [h, w, 3] and gives float32; this one takes {inputs} and gives {outputs}"
        )
