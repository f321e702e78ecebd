"""From the fp32 core to an int8 encoder: static QDQ, ranges measured on calibration pictures.

Two flavours, since no one file suits both worlds (a device profile names the one it wants):

`u8s8`       x86: uint8 activations, int8 weights, per channel. With s8s8 the same network is slower than fp32 there.
`symmetric`  TensorRT: int8 on both sides, zero points 0, float biases.

What makes `u8s8` quick, each measured on EfficientNet-Lite0 at 224 px with one thread of AVX-512-VNNI:
- pixels go into the first convolution as they are: (x - 127) / 128 is the dequantisation of uint8 with scale 1/128 and
  zero point 127, so there is no arithmetic in front of it;
- the stem reads four pixels as one position of twelve channels (`widen_stem`): the same sums, 0.25 ms -> 0.10 ms;
- means are taken in float behind the last dequantisation; taken in int8 they gain nothing and lose resolution.

MinMax ranges only: the histogram calibrators hold every activation of every picture (6 GB for 100 pictures) and are no
better here. `reduce_range` costs accuracy and is only of use on x86 without VNNI.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edge_agent.errors import BadBundleError
from edge_agent.models.build.export import CORE_INPUT, finish, float_front
from edge_agent.models.build.network import PIXEL_MEAN, PIXEL_SCALE
from edge_agent.models.encoder import INPUT_NAME

U8S8 = "u8s8"
SYMMETRIC = "symmetric"
FLAVOURS = (U8S8, SYMMETRIC)

# Pixels that the stem takes as one position. Its kernel sees 5 of the 8 columns of two such positions, so three
# eighths of its products are with zero, and yet it is the quickest: 2, 4 take 0.25, 0.10 ms, plain 0.26 ms.
STEM_PIXELS = 4

Picture = NDArray[np.uint8]


def quantise(
    core: ModelProto, pictures: Sequence[Picture], flavour: str = U8S8, progress: Callable[[int], None] | None = None
) -> ModelProto:
    """An int8 encoder from the exported fp32 `core`.

    `pictures` are uint8 [h, w, 3] BGR, already of the input size; some tens from the kind of line it will see are
    enough. `progress` is told how many have been seen.

    Raises:
        BadBundleError: no pictures, one of another size, or an unknown flavour.
    """
    height, width = (axis.dim_value for axis in core.graph.input[0].type.tensor_type.shape.dim[2:])
    wrong = [list(picture.shape) for picture in pictures if picture.shape != (height, width, 3)]
    if not pictures or wrong:
        raise BadBundleError(
            f"calibration needs pictures of [{height}, {width}, 3]; found {len(pictures)}, of other shapes: {wrong[:3]}"
        )
    if flavour not in FLAVOURS:
        raise BadBundleError(f"int8 flavour {flavour!r} is unknown; known are {', '.join(FLAVOURS)}")
    model = ModelProto()
    model.CopyFrom(core)
    if flavour == SYMMETRIC:
        quantised = _quantised(model, _Pictures(pictures, 1, progress), SYMMETRIC)
        return finish(quantised, *float_front())
    widen_stem(model, (height, width))
    quantised = _quantised(model, _Pictures(pictures, STEM_PIXELS, progress), U8S8)
    _take_pixels(quantised)
    front = [
        helper.make_node("Reshape", [INPUT_NAME, "wide_shape"], ["pixels_nhwc"]),
        helper.make_node("Transpose", ["pixels_nhwc"], ["pixels_nchw"], perm=[0, 3, 1, 2]),
    ]
    wide_shape = np.array([1, height, width // STEM_PIXELS, STEM_PIXELS * 3], np.int64)
    return finish(quantised, front, {"wide_shape": wide_shape}, input_px=(height, width))


def widen_stem(core: ModelProto, input_px: tuple[int, int]) -> None:
    """Rewrite the stem in place: 3x3, stride 2, 3 channels -> 3x2, stride (2, 1), 12 channels, two pixels out at once.

    In memory the picture [h, w, 3] already is [h, w/4, 12], so nothing is moved, and ONNX Runtime's gathering of
    patches, which costs more than the products, copies a third as many and longer pieces.

        columns in:  |0 1 2 3|4 5 6 7|     out 0 sees 0 1 2 (and padding to the right only: "SAME", stride 2, even size)
                      out 0, out 1         out 1 sees 2 3 4
    """
    graph = core.graph
    stem, clip = graph.node[0], graph.node[1]
    if (stem.op_type, clip.op_type) != ("Conv", "Clip") or input_px[0] % 2 or input_px[1] % STEM_PIXELS:
        raise BadBundleError(
            f"expected Conv and Clip first and an input of even height and width divisible by {STEM_PIXELS}, "
            f"found {stem.op_type}, {clip.op_type} and {input_px}"
        )
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kernel, bias = tensors[stem.input[1]], tensors[stem.input[2]]
    narrow = numpy_helper.to_array(kernel)
    outputs = STEM_PIXELS // 2
    width_out, channels, rows, columns = narrow.shape
    wide = np.zeros((outputs * width_out, STEM_PIXELS * channels, rows, 2), np.float32)
    for output in range(outputs):
        for column in range(columns):
            position, pixel = divmod(2 * output + column, STEM_PIXELS)
            wide[output * width_out :][:width_out, pixel * channels :][:, :channels, :, position] = narrow[..., column]
    kernel.CopyFrom(numpy_helper.from_array(wide, kernel.name))
    bias.CopyFrom(numpy_helper.from_array(np.tile(numpy_helper.to_array(bias), outputs), bias.name))
    for attribute in stem.attribute:
        if attribute.name == "kernel_shape":
            attribute.ints[:] = [rows, 2]
        elif attribute.name == "strides":
            attribute.ints[:] = [2, 1]
    height, width = input_px
    for axis, size in zip(
        graph.input[0].type.tensor_type.shape.dim,
        (1, STEM_PIXELS * channels, height, width // STEM_PIXELS),
        strict=True,
    ):
        axis.dim_value = size
    narrow_name, clip.output[0] = clip.output[0], "stem_wide"
    graph.initializer.append(
        numpy_helper.from_array(np.array([1, height // 2, width // 2, width_out], np.int64), "stem_shape")
    )
    # ONNX Runtime computes in NHWC, where the two transposes cancel and the reshape is free.
    unfold = (
        helper.make_node("Transpose", ["stem_wide"], ["stem_wide_nhwc"], name="stem_to_nhwc", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["stem_wide_nhwc", "stem_shape"], ["stem_nhwc"], name="stem_unfold"),
        helper.make_node("Transpose", ["stem_nhwc"], [narrow_name], name="stem_to_nchw", perm=[0, 3, 1, 2]),
    )
    for offset, node in enumerate(unfold):
        graph.node.insert(2 + offset, node)


class _Pictures(CalibrationDataReader):
    """Calibration pictures as the core takes them, `pixels` side by side as one position."""

    def __init__(self, pictures: Sequence[Picture], pixels: int, progress: Callable[[int], None] | None) -> None:
        self._feed = self._all(pictures, pixels, progress)

    @staticmethod
    def _all(
        pictures: Sequence[Picture], pixels: int, progress: Callable[[int], None] | None
    ) -> Iterator[dict[str, NDArray[np.float32]]]:
        for seen, picture in enumerate(pictures, start=1):
            height, width, channels = picture.shape
            x = (picture.astype(np.float32) - PIXEL_MEAN) / PIXEL_SCALE
            yield {CORE_INPUT: x.reshape(height, width // pixels, pixels * channels).transpose(2, 0, 1)[None]}
            if progress is not None:
                progress(seen)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feed, None)


def _quantised(model: ModelProto, pictures: _Pictures, flavour: str) -> ModelProto:
    symmetric = flavour == SYMMETRIC
    options: dict[str, object] = {
        "ActivationSymmetric": symmetric,
        "WeightSymmetric": True,
        "QuantizeBias": not symmetric,  # TensorRT wants its biases in float
    }
    if not symmetric:
        pixel = {"scale": np.array(1 / PIXEL_SCALE, np.float32), "zero_point": np.array(PIXEL_MEAN, np.uint8)}
        options["TensorQuantOverrides"] = {CORE_INPUT: [pixel]}
    with tempfile.TemporaryDirectory() as directory:
        # The quantiser wants shapes and says so on the root logger; this adds them and changes nothing else.
        quant_pre_process(model, f"{directory}/shaped.onnx", skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            f"{directory}/shaped.onnx",
            f"{directory}/int8.onnx",
            pictures,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=options,
        )
        quantised: ModelProto = onnx.load(Path(directory) / "int8.onnx")
        return quantised


def _take_pixels(model: ModelProto) -> None:
    """Leave out the quantisation of the input: the pixels are its result."""
    (first,) = (node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == CORE_INPUT)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == first.output[0]:
                node.input[index] = "pixels_nchw"
    model.graph.node.remove(first)
