"""The landmark network in PyTorch, for a GPU: the operators of its TensorFlow Lite file one by one, on batches.

Weights come from the file that LiteRT reads, so nothing is converted or stored. Outputs equal LiteRT's to rounding.
Pictures are (N, C, H, W) between operators, and (N, H, W, C) outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tclr.pipeline.faces.landmarker.bundle import GPU_STEP
from tclr.pipeline.faces.mediapipe_network import read_graph
from tclr.schemas.errors import ModelError

SAME = 0
"""TensorFlow Lite's code for padding at which the output has as many places as the input has steps."""
STEP = GPU_STEP
"""Pictures per pass. The order in which a GPU sums depends on their number, so passes are filled up with black ones."""


@contextmanager
def run_exactly(*, allow_tf32: bool) -> Iterator[None]:
    """Run networks without gradients and without algorithm search, which would change results from run to run.

    With ``allow_tf32`` a GPU may round to 10 bits.
    """
    settings = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": allow_tf32}
    with torch.inference_mode(), torch.backends.cudnn.flags(**settings):
        yield


def _pad_same(x: Tensor, size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pad as TensorFlow does: one more to the right and below where the padding is odd."""
    edges: list[int] = []
    for length, window, step in zip(x.shape[:1:-1], size[::-1], stride[::-1], strict=True):  # width first
        missing = max((-(-length // step) - 1) * step + window - length, 0)
        edges += [missing // 2, missing - missing // 2]
    return functional.pad(x, edges) if any(edges) else x


def _conv(options: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _convolve(options, x, weight.permute(0, 3, 1, 2), bias, 1)


def _depthwise_conv(options: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _convolve(options, x, weight.permute(3, 0, 1, 2), bias, len(bias))


def _convolve(options: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    stride = options.strideH, options.strideW
    x = _pad_same(x, weight.shape[2:], stride) if options.padding == SAME else x
    return functional.conv2d(x, weight, bias, stride, groups=groups)


def _max_pool(options: Any, x: Tensor) -> Tensor:
    size, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    return functional.max_pool2d(_pad_same(x, size, stride), size, stride)


def _add_channels(_options: Any, x: Tensor, edges: Tensor) -> Tensor:
    return functional.pad(x, (0, 0, 0, 0, *edges[3].tolist()))


def _reshape(_options: Any, x: Tensor, shape: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(len(x), *shape[1:].tolist())


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise_conv,
    "MAX_POOL_2D": _max_pool,
    "PAD": _add_channels,
    "RESHAPE": _reshape,
    "PRELU": lambda _, x, slopes: functional.prelu(x, slopes.flatten()),
    "ADD": lambda _, x, y: x + y,
    "LOGISTIC": lambda _, x: x.sigmoid(),
}
"""By name, what an operator does with its options and inputs: all that the network needs."""


class TorchNetwork:
    """The network of landmarks on any device; it can replace a ``Network``.

    Raises
    ------
    ModelError
        If the bundle has no such network, or it has an operator that is unknown here.

    >>> from tclr.pipeline.faces import find_model
    >>> from tclr.pipeline.faces.landmarker.bundle import LANDMARKS
    >>> network = TorchNetwork(find_model(), LANDMARKS, torch.device("cpu"))
    >>> [output.shape for output in network(np.zeros((2, 256, 256, 3), np.float32))]
    [(2, 1434), (2, 1), (2, 1)]
    """

    def __init__(self, bundle: Path, name: str, device: torch.device) -> None:
        self._graph = graph = read_graph(bundle, name)
        if unknown := sorted({one.kind for one in graph.operators} - OPERATORS.keys()):
            raise ModelError(
                f"Expected a network of known operators in {bundle}, but {name} has {', '.join(unknown)}. "
                "Use the bundle that tclr fetches, or --device cpu."
            )
        self._device = device
        self._constants = {
            number: torch.from_numpy(values).to("cpu" if values.dtype == np.int64 else device)
            for number, values in graph.constants.items()
        }

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for (n, H, W, 3) float32 pictures, n >= 1: (n, numbers) float32 each."""
        passes = [self._run(values[start : start + STEP]) for start in range(0, len(values), STEP)]
        return [np.concatenate(parts) for parts in zip(*passes, strict=True)]

    def _run(self, values: np.ndarray) -> list[np.ndarray]:
        filled = np.zeros((STEP, *values.shape[1:]), np.float32)
        filled[: len(values)] = values
        known = {self._graph.input: torch.from_numpy(filled).to(self._device).permute(0, 3, 1, 2)}
        with run_exactly(allow_tf32=False):
            for one in self._graph.operators:
                inputs = (known[number] if number in known else self._constants[number] for number in one.inputs)
                known[one.output] = OPERATORS[one.kind](one.options, *inputs)
        outputs = (known[number] for number in self._graph.outputs)
        placed = (x.permute(0, 2, 3, 1) if x.ndim == 4 else x for x in outputs)
        return [x.flatten(1)[: len(values)].cpu().numpy() for x in placed]
