"""From the torch network to an ONNX encoder: the convolutions by torch's exporter, the two ends by hand.

    picture uint8 [h, w, 3] -> front -> core: float32 [1, 3, h, w] -> stages -> tail -> vector [D], map [h', w', 112]

The core is exported once and then used twice, as it is for fp32 and quantised for int8, each with the ends that suit
it: fp32 normalises the pixels, int8 takes them as they are (`edge_agent.models.build.quantise`).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edge_agent.models.build.network import (
    BLOCK_POOLS,
    PIXEL_MEAN,
    PIXEL_SCALE,
    STAGE_POOLS,
    FeatureNetwork,
    map_name,
    outputs_of,
)
from edge_agent.models.encoder import INPUT_NAME, MAP_NAME, VECTOR_NAME

# The lowest opset that torch's exporter writes, with the IR version of its time (onnx 1.12), so that the ONNX Runtime
# of older Jetsons (1.17) still reads the file.
OPSET = 18
IR_VERSION = 8
CORE_INPUT = "normalised"
Array = NDArray[np.float32] | NDArray[np.int64]


class _Core(nn.Module):
    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.core(x))


def export_core(network: FeatureNetwork) -> ModelProto:
    """`network.core` as ONNX: float32 [1, 3, h, w] in, one float32 [1, width, h', w'] per output out."""
    with _quiet():
        program = torch.onnx.export(
            _Core(network).eval(),
            (torch.zeros(1, 3, *network.input_px),),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            input_names=[CORE_INPUT],
            output_names=[name for name, _ in network.outputs],
        )
    model: ModelProto = program.model_proto
    model.ir_version = IR_VERSION
    # The exporter notes where in our source each node came from: larger files, and other bytes for every edit.
    for node in model.graph.node:
        del node.metadata_props[:]
    for described in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del described.metadata_props[:]
    del model.graph.value_info[:]
    return model


def fp32_encoder(core: ModelProto) -> ModelProto:
    """The core with float ends."""
    model = ModelProto()
    model.CopyFrom(core)
    return finish(model, *float_front())


def float_front() -> tuple[list[NodeProto], dict[str, Array]]:
    """Nodes from the picture to the normalised input of the core, and their constants."""
    nodes = [
        helper.make_node("Unsqueeze", [INPUT_NAME, "first_axis"], ["picture_nhwc"]),
        helper.make_node("Transpose", ["picture_nhwc"], ["picture_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["picture_nchw"], ["picture_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["picture_float", "pixel_mean"], ["picture_centred"]),
        helper.make_node("Div", ["picture_centred", "pixel_scale"], [CORE_INPUT]),
    ]
    return nodes, {
        "pixel_mean": np.array(PIXEL_MEAN, np.float32),
        "pixel_scale": np.array(PIXEL_SCALE, np.float32),
    }


def pools_of(encoder: ModelProto) -> str:
    """The pools of an encoder that `finish` made, told by the names of its means."""
    means = {name for node in encoder.graph.node for name in node.output}
    return BLOCK_POOLS if all(f"{name}_mean" in means for name, _ in outputs_of(BLOCK_POOLS)) else STAGE_POOLS


def finish(
    model: ModelProto,
    front: list[NodeProto],
    constants: dict[str, Array],
    input_px: tuple[int, int] | None = None,
) -> ModelProto:
    """Put `front` before the core in `model` and the pools and the map behind it; the result is a checked encoder.

    The means are taken in float, after dequantisation in an int8 core: pooled in int8 they would be rounded to steps
    of the whole stage's range. `input_px` says the picture's size where the core's input no longer does.
    """
    graph = model.graph
    size = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in graph.output}
    height, width = input_px or [axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim[2:]]
    _, channels, map_height, map_width = size[map_name(list(size))]
    tail = [helper.make_node("ReduceMean", [name, "spatial_axes"], [f"{name}_mean"], keepdims=0) for name in size]
    tail += [
        helper.make_node("Concat", [f"{name}_mean" for name in size], ["vector_row"], axis=1),
        helper.make_node("Squeeze", ["vector_row", "first_axis"], [VECTOR_NAME]),
        helper.make_node("Transpose", [map_name(list(size))], ["map_nhwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Squeeze", ["map_nhwc", "first_axis"], [MAP_NAME]),
    ]
    constants = constants | {"first_axis": np.array([0], np.int64), "spatial_axes": np.array([2, 3], np.int64)}
    nodes = [*front, *graph.node, *tail]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [height, width, 3]))
    graph.output.extend(
        (
            helper.make_tensor_value_info(VECTOR_NAME, TensorProto.FLOAT, [sum(shape[1] for shape in size.values())]),
            helper.make_tensor_value_info(MAP_NAME, TensorProto.FLOAT, [map_height, map_width, channels]),
        )
    )
    graph.name = "encoder"
    onnx.checker.check_model(model, full_check=True)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch 2.13's exporter warns about its own internals and about torchvision, which we do not use."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)
