"""Training in several processes: the division of work, and batch statistics over all processes.

A step's tuples are divided first into micro-batches, then among the processes. The number of processes therefore does
not change which tuples share batch statistics; the gradient is that of one process up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn.modules.batchnorm import _BatchNorm

from tclr.pipeline.encoder import default_device
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import SettingError


@dataclass(frozen=True)
class Processes:
    """The processes of a run as seen by one of them, by default the only one; ``rank`` counts from 0."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def share(self, indices: Sequence[int]) -> list[int]:
        """Return this process's part of some tuple indices; sizes of parts differ by at most one and may be 0."""
        return [int(index) for index in np.array_split(np.asarray(indices, np.int64), self.count)[self.rank]]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes in order of rank, in every process."""
        values = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(values, value)
        return values

    def agree(self, flag: bool) -> bool:
        """Return rank 0's flag in every process."""
        if self.count == 1:
            return flag
        shared = torch.tensor([flag])  # on the CPU, which avoids waiting for a GPU
        dist.broadcast(shared, src=0)
        return bool(shared.item())


@contextmanager
def open_processes() -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, if any, with gloo for CPU tensors and nccl for GPU tensors.

    A process group that the caller has initialised is used and kept.

    Raises
    ------
    SettingError
        If there are more processes on this machine than GPUs.
    """
    device = default_device()
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
    if not launched and not dist.is_initialized():
        yield Processes(device)
        return
    if device.type == "cuda":
        local_rank, n_gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local_rank >= n_gpus:
            raise SettingError(
                f"Expected at most one process per GPU, but got process {local_rank + 1} with {n_gpus} GPUs on this "
                "machine. Lower torchrun's --nproc-per-node."
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    yield Processes(device, dist.get_rank(), dist.get_world_size())
    if ours:  # not after an error: other processes wait in a collective until torchrun ends them
        dist.destroy_process_group()


def plan_steps(n_tuples: int, config: PretrainConfig, n_processes: int) -> list[list[range]]:
    """Divide an epoch's tuples into steps of ``batch_size``, and steps into micro-batches; the last may be smaller.

    Raises
    ------
    SettingError
        If ``batch_size`` is not divisible by processes times micro-batches.

    Examples
    --------
    >>> plan_steps(5, PretrainConfig(batch_size=4, accumulate=2), n_processes=1)
    [[range(0, 2), range(2, 4)], [range(4, 5)]]
    """
    if config.batch_size % (config.accumulate * n_processes):
        raise SettingError(
            f"Expected a batch_size divisible by processes x micro-batches ({n_processes} x {config.accumulate}), but "
            f"got {config.batch_size}. It counts the tuples of a whole step: change --batch-size or --accumulate."
        )
    micro = config.batch_size // config.accumulate
    parts = [range(start, min(start + micro, n_tuples)) for start in range(0, n_tuples, micro)]
    return [parts[i : i + config.accumulate] for i in range(0, len(parts), config.accumulate)]


class _SumOverProcesses(Function):
    """Sum a tensor over all processes, and its gradient likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm(_BatchNorm):
    """Batch normalisation by the samples of all processes, on any device; a process may have no samples.

    ``torch.nn.SyncBatchNorm`` does the same, but only on GPUs.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        return

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, ...) to the same shape and dtype, with statistics in at least float32."""
        if not self.training:
            return super().forward(x)
        dims = [0, *range(2, x.dim())]
        shape = (1, -1, *[1] * (x.dim() - 2))
        wide = x if x.dtype == torch.float64 else x.float()
        count = wide.new_tensor([x.numel() // x.shape[1]])
        sums = _SumOverProcesses.apply(torch.cat([wide.sum(dims), count]))
        n = sums[-1].detach()
        mean = sums[:-1] / n
        centred = wide - mean.view(shape)
        variance = _SumOverProcesses.apply(centred.square().sum(dims)) / n
        self._track(mean.detach(), (variance * n / (n - 1)).detach())
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        return (normal * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics as ``torch.nn.BatchNorm2d`` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def share_batch_statistics(model: nn.Module, device: torch.device) -> None:
    """Replace, in place, a model's batch normalisations by ones over all processes' samples; names are unchanged."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, _BatchNorm):
                shared = GlobalBatchNorm(child.num_features, child.eps, child.momentum, device=device)
                shared.load_state_dict(child.state_dict())
                shared.weight, shared.bias = child.weight, child.bias
                setattr(module, name, shared)
