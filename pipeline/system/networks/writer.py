"""Writes a network as a TensorFlow Lite model, operator by operator, from weights in PyTorch's order.

Pictures are (1, H, W, C) within the model. Weights are float32, and are given as PyTorch stores them: channels first,
and linear layers behind a map with its places in the order C, H, W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tclr.pipeline.system.networks.model_file import pack_model

FLOAT32, INT32 = 0, 2
"""TensorFlow Lite's codes of types."""
SAME, VALID = 0, 1
"""Its codes of padding."""
NORM_EPSILON = 1e-5
"""Of PyTorch's batch normalisation."""


def norm_factors(take: Callable[[str], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and shift, float64, that a batch normalisation applies; ``take`` gives its tensors by name.

    >>> tensors = {"running_mean": 2, "running_var": 4, "weight": 6, "bias": 1}
    >>> scale, shift = norm_factors(lambda name: np.array([tensors[name]]))
    >>> scale.round(2).tolist(), shift.round(2).tolist()
    ([3.0], [-5.0])
    """
    names = ("running_mean", "running_var", "weight", "bias")
    mean, variance, weight, bias = (take(name).astype(np.float64) for name in names)
    scale = weight / np.sqrt(variance + NORM_EPSILON)
    return scale, bias - mean * scale


class NetworkWriter:
    """A model in the making; its methods add an operator each, and return the number of the array that this makes.

    Parameters
    ----------
    input_shape : sequence of int
        (1, H, W, C) or (1, N).

    Examples
    --------
    >>> writer = NetworkWriter((1, 4, 4, 1))
    >>> pooled = writer.max_pool(writer.input, 2)
    >>> writer.shape(pooled), len(writer.finish(pooled)) > 100
    ((1, 2, 2, 1), True)
    """

    def __init__(self, input_shape: Sequence[int]) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.operatorCodes, self._model.buffers = [], [schema.BufferT()]
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._model.subgraphs = [self._graph]
        self._numbers: dict[str, int] = {}  # by kind of operator
        self.input = self._array(input_shape)

    def shape(self, array: int) -> tuple[int, ...]:
        """Return the shape of an array."""
        return tuple(self._graph.tensors[array].shape.tolist())

    def convolve(
        self, x: int, weight: np.ndarray, bias: np.ndarray, stride: int = 1, padding: int = VALID, *, relu: bool = False
    ) -> int:
        """Convolve with (n_out, n_in, h, w) weights and (n_out,) biases.

        ``SAME`` pads as TensorFlow does: if the padding is odd, there is one more to the right and below.
        """
        options = self._strided(self._schema.Conv2DOptionsT(), stride, padding)
        options.fusedActivationFunction = int(relu)
        lost = (0, 0) if padding == SAME else [size - 1 for size in weight.shape[2:]]
        sides = [-(-(side - less) // stride) for side, less in zip(self.shape(x)[1:3], lost, strict=True)]
        parts = x, self._constant(weight.transpose(0, 2, 3, 1)), self._constant(bias)
        return self._add("CONV_2D", parts, (1, *sides, len(weight)), options)

    def convolve_depthwise(self, x: int, weight: np.ndarray, bias: np.ndarray) -> int:
        """Convolve each of C channels with its own (C, 1, h, w) weights; the size stays."""
        options = self._strided(self._schema.DepthwiseConv2DOptionsT(), 1, SAME)
        options.depthMultiplier = 1
        parts = x, self._constant(weight.transpose(1, 2, 3, 0)), self._constant(bias)
        return self._add("DEPTHWISE_CONV_2D", parts, self.shape(x), options)

    def prelu(self, x: int, slopes: np.ndarray) -> int:
        """Multiply what is below 0 by (C,) slopes."""
        return self._add("PRELU", (x, self._constant(slopes.reshape(1, 1, -1))), self.shape(x))

    def add(self, x: int, y: int) -> int:
        """Add two arrays of one shape."""
        return self._add("ADD", (x, y), self.shape(x), self._schema.AddOptionsT())

    def logistic(self, x: int) -> int:
        """Return 1 / (1 + exp(-x))."""
        return self._add("LOGISTIC", (x,), self.shape(x))

    def max_pool(self, x: int, size: int) -> int:
        """Return the maximum of each square of ``size`` pixels; the sides are multiples of it."""
        return self._pool("MAX_POOL_2D", x, size)

    def average_pool(self, x: int, size: int) -> int:
        """Return the mean of each square of ``size`` pixels; the sides are multiples of it."""
        return self._pool("AVERAGE_POOL_2D", x, size)

    def pad(self, x: int, before: Sequence[int] = (0, 0, 0, 0), after: Sequence[int] = (0, 0, 0, 0)) -> int:
        """Pad with zeros before and after, by dimension."""
        edges = np.stack([before, after], axis=1).astype(np.int32)
        shape = tuple(side + int(more) for side, more in zip(self.shape(x), edges.sum(axis=1), strict=True))
        return self._add("PAD", (x, self._constant(edges)), shape, self._schema.PadOptionsT())

    def linear(self, x: int, weight: np.ndarray, bias: np.ndarray, *, relu: bool = False) -> int:
        """Return ``weight @ x + bias`` for (n_out, n_in) weights; a map (1, H, W, C) is read in the order C, H, W."""
        shape = self.shape(x)
        if len(shape) == 4:
            _, height, width, channels = shape
            weight = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(weight), -1)
            flat = (1, height * width * channels)
            places = self._constant(np.array(flat, np.int32))
            x = self._add("RESHAPE", (x, places), flat, self._schema.ReshapeOptionsT())
        options = self._schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = int(relu)
        parts = x, self._constant(weight), self._constant(bias)
        return self._add("FULLY_CONNECTED", parts, (1, len(weight)), options)

    def finish(self, *outputs: int) -> bytes:
        """Return the model that turns the input into some arrays."""
        self._graph.inputs, self._graph.outputs = (np.array(some, np.int32) for some in ([self.input], outputs))
        return pack_model(self._model)

    def _array(self, shape: Sequence[int], kind: int = FLOAT32, buffer: int = 0) -> int:
        tensor = self._schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = np.array(shape, np.int32), kind, buffer
        tensor.name = str(len(self._graph.tensors))
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, values: np.ndarray) -> int:
        kind = INT32 if values.dtype == np.int32 else FLOAT32
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.astype(np.int32 if kind == INT32 else np.float32).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return self._array(values.shape, kind, len(self._model.buffers) - 1)

    def _strided(self, options: Any, stride: int, padding: int) -> Any:
        options.strideH = options.strideW = stride
        options.padding = padding
        return options

    def _pool(self, kind: str, x: int, size: int) -> int:
        options = self._strided(self._schema.Pool2DOptionsT(), size, VALID)
        options.filterHeight = options.filterWidth = size
        _, height, width, channels = self.shape(x)
        return self._add(kind, (x,), (1, height // size, width // size, channels), options)

    def _add(self, kind: str, inputs: Sequence[int], shape: Sequence[int], options: Any = None) -> int:
        if kind not in self._numbers:
            code = self._schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(self._schema.BuiltinOperator, kind)
            code.version = 1
            self._numbers[kind] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._numbers[kind]
        output = self._array(shape)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._graph.operators.append(operator)
        return output
