"""The training loop: torch on the CPU, the same bits for the same plan, pictures and number of threads.

    step -> its batch -> slices: turned pictures -> stage means -> linear head -> cross entropy -> gradients added up
         -> clip -> AdamW at this step's rate

Batch normalisation is folded into the convolutions of our encoders, so there are no running statistics to go astray.
The head starts as the ridge solution on the untrained features, scaled to logits: the first steps then improve what is
there instead of undoing it (docs/learning.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.clock import Clock
from edge_agent.errors import BadBundleError, RefusedError
from edge_agent.models.build.export import pools_of
from edge_agent.models.build.network import PIXEL_MEAN, PIXEL_SCALE, STAGE_POOLS, FeatureNetwork
from edge_agent.models.finetune.checkpoint import Checkpoint
from edge_agent.models.finetune.job import Job
from edge_agent.models.finetune.plan import batch_of, learning_rate, steps_per_epoch, varied

NAMED = "network."  # how the exporter names the parameters of the network in the float encoder
HEAD = "head."
RIDGE_SHARE = 0.05  # of the number of pictures, on standardised features
LOGIT_SCALE = 5.0  # a ridge solution aims at 0 and 1; as logits these are too timid
SPREAD_MIN = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """After a step: how far, the loss of its batch, and the seconds that are left at the present pace."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    eta_s: float


class Trainer(nn.Module):
    """Network and head of one job, and what the optimiser remembers of them."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        plan = job.plan
        torch.set_num_threads(plan.threads)
        torch.use_deterministic_algorithms(mode=True)
        torch.manual_seed(plan.seed)
        self.job = job
        self.steps = plan.epochs * steps_per_epoch(plan, job.count)
        self.step = 0
        self.network = network_of(job.base(), job.input_px)
        self._pictures, self._labels = job.pictures(), torch.from_numpy(job.labels())
        self._mean, self._spread, self.head = self._begin_head()
        trained = self._trained()
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in trained)
        self._optimiser = torch.optim.AdamW(
            [parameter for parameter in self.parameters() if parameter.requires_grad],
            lr=plan.peak_rate,
            weight_decay=plan.weight_decay,
            foreach=False,
        )

    def run(self, clock: Clock, cancelled: Callable[[], bool], after: Callable[[Progress], None]) -> bool:
        """Take the steps that are left; False when `cancelled` said so, which it is asked at each slice.

        Raises:
            RefusedError: the loss is not a number any more; the plan's rate is too high for these pictures.
        """
        plan, begun_s, begun_step = self.job.plan, clock.mono_s(), self.step
        while self.step < self.steps:
            loss = self._take(cancelled)
            if loss is None:
                return False
            if not np.isfinite(loss):
                raise RefusedError(f"step {self.step}: the loss is {loss}; lower peak_rate ({plan.peak_rate})")
            pace_s = (clock.mono_s() - begun_s) / (self.step - begun_step)
            after(
                Progress(
                    step=self.step,
                    steps=self.steps,
                    epoch=(self.step - 1) // steps_per_epoch(plan, self.job.count) + 1,
                    epochs=plan.epochs,
                    loss=loss,
                    eta_s=pace_s * (self.steps - self.step),
                )
            )
        return True

    def checkpoint(self) -> Checkpoint:
        """The state after the last whole step."""
        names = {id(parameter): name for name, parameter in self.named_parameters()}
        state = {names[id(parameter)]: kept for parameter, kept in self._optimiser.state.items()}
        return Checkpoint(
            step=self.step,
            plan=self.job.plan.digest,
            job=self.job.digest,
            weights={name: parameter.detach().numpy().copy() for name, parameter in self.named_parameters()},
            first={name: kept["exp_avg"].numpy().copy() for name, kept in state.items()},
            second={name: kept["exp_avg_sq"].numpy().copy() for name, kept in state.items()},
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this very job and plan.

        Raises:
            RefusedError: it belongs to another.
        """
        if (checkpoint.job, checkpoint.plan) != (self.job.digest, self.job.plan.digest):
            raise RefusedError("the checkpoint is of another job or plan; the run begins again")
        parameters = dict(self.named_parameters())
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(torch.from_numpy(checkpoint.weights[name]))
        for name, first in checkpoint.first.items():
            self._optimiser.state[parameters[name]] = {
                "step": torch.tensor(float(checkpoint.step)),
                "exp_avg": torch.from_numpy(first.copy()),
                "exp_avg_sq": torch.from_numpy(checkpoint.second[name].copy()),
            }
        self.step = checkpoint.step

    def _take(self, cancelled: Callable[[], bool]) -> float | None:
        """One step; its loss, None when it was cancelled in the middle (then nothing has changed)."""
        plan = self.job.plan
        chosen = batch_of(plan, self.job.count, self.step)
        self._optimiser.zero_grad()
        total = 0.0
        for start in range(0, len(chosen), plan.slice):
            if cancelled():
                return None
            rows = chosen[start : start + plan.slice]
            seen = [varied(plan, self._pictures[row], self.step, start + place) for place, row in enumerate(rows)]
            logits = self._logits(np.stack(seen))
            loss = functional.cross_entropy(logits, self._labels[rows], reduction="sum") / len(chosen)
            loss.backward()
            total += float(loss.detach())
        nn.utils.clip_grad_norm_([p for p in self.parameters() if p.requires_grad], plan.clip, foreach=False)
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(plan, self.step, self.steps)
        self._optimiser.step()
        self.step += 1
        return total

    def _logits(self, pictures: NDArray[np.uint8]) -> Tensor:
        logits: Tensor = self.head((self._features(pictures) - self._mean) / self._spread)
        return logits

    def _features(self, pictures: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(torch.float32)
        x = ((pixels - PIXEL_MEAN) / PIXEL_SCALE).contiguous(memory_format=torch.channels_last)
        return torch.cat([output.mean(dim=(2, 3)) for output in self.network.core(x)], dim=1)

    def _begin_head(self) -> tuple[Tensor, Tensor, nn.Linear]:
        with torch.no_grad():
            size = self.job.plan.slice
            parts = [self._features(np.array(self._pictures[i : i + size])) for i in range(0, self.job.count, size)]
            features = torch.cat(parts)
            mean, spread = features.mean(dim=0), features.std(dim=0).clamp_min(SPREAD_MIN)
            z = ((features - mean) / spread).double()
            hot = functional.one_hot(self._labels, len(self.job.classes)).double()
            share = hot.mean(dim=0)
            gram = z.T @ z + RIDGE_SHARE * len(z) * torch.eye(z.shape[1], dtype=torch.float64)
            weights = torch.linalg.solve(gram, z.T @ (hot - share))
            head = nn.Linear(z.shape[1], len(self.job.classes))
            head.weight.copy_((LOGIT_SCALE * weights.T).float())
            head.bias.copy_((LOGIT_SCALE * share).float())
        return mean, spread, head

    def _trained(self) -> set[str]:
        plan = self.job.plan
        stages = len(self.network.stages)
        first = 0 if plan.stages is None else stages - plan.stages
        names = {name for name, _ in self.named_parameters()}
        kept = {name for name in names if plan.stages is not None and name.startswith("network.stem.")}
        kept |= {name for name in names for stage in range(first) if name.startswith(f"network.stages.{stage}.")}
        if plan.head_frozen:
            kept |= {name for name in names if name.startswith(HEAD)}
        return names - kept


def network_of(encoder: bytes, input_px: tuple[int, int]) -> FeatureNetwork:
    """The network whose weights are the constants of a float encoder of ours, made for another or the same size.

    Raises:
        BadBundleError: the encoder is of another architecture.
    """
    model: ModelProto = onnx.load_from_string(encoder)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    network = FeatureNetwork(input_px, pools_of(model))
    wanted = network.state_dict()
    missing = [name for name in wanted if NAMED + name not in constants]
    if missing:
        raise BadBundleError(
            f"the float encoder lacks {len(missing)} of {len(wanted)} weights ({missing[0]}, ...): fine-tuning knows "
            "bundles of `edge-agent models build` only"
        )
    # A copy: numpy's view of the file's bytes may not be written to.
    state = {name: torch.from_numpy(numpy_helper.to_array(constants[NAMED + name]).copy()) for name in wanted}
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise BadBundleError(f"weight {name} is {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}")
    network.load_state_dict(state)
    network.to(memory_format=torch.channels_last)
    return network


def network_from(
    weights: Mapping[str, NDArray[np.float32]], input_px: tuple[int, int], pools: str = STAGE_POOLS
) -> FeatureNetwork:
    """The network of a finished run's weights (names as in `Checkpoint.weights`)."""
    network = FeatureNetwork(input_px, pools)
    own = {name.removeprefix(NAMED): array for name, array in weights.items() if name.startswith(NAMED)}
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in own.items()})
    network.eval()
    return network
