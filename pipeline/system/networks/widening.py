"""Widens narrow layers of TensorFlow Lite models by channels of zeros: the same numbers in less time.

LiteRT's kernels compute as many channels at once as a vector of the processor holds. With AVX-512 these are 16, and a
layer of 8 channels falls back to code for remainders, which takes twice the time of 16 (docs/performance.md).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tclr.pipeline.system.networks.model_file import pack_model, unpack_model

AVX_512F = 13
"""OpenCV's number of the instructions."""
FLOATS = (np.float32, np.float16)
"""Types of weights by TensorFlow Lite's code."""
WIDE_LANES = 16
"""Channels of float32 in one of their vectors."""


@cache
def wide_lanes() -> int:
    """Return the least number of channels that suits this processor's kernels; 1 where narrow layers cost nothing.

    >>> wide_lanes() in (1, 16)
    True
    """
    import cv2

    return WIDE_LANES if cv2.checkHardwareSupport(AVX_512F) else 1


def widened(values: np.ndarray, axis: int, least: int) -> np.ndarray:
    """Return an array that is padded by zeros behind an axis to at least a number of places.

    >>> widened(np.ones((2, 1)), 0, 4).shape
    (4, 1)
    """
    more = [(0, max(0, least - size) if place == axis else 0) for place, size in enumerate(values.shape)]
    return np.pad(values, more)


def widen_network(model: bytes, least: int) -> bytes:
    """Return a model whose narrow chains have at least a number of channels; outputs are the same to the bit.

    A chain is a convolution, whose channels only a PReLU and a depthwise convolution see, in any number and order, and
    then another convolution that mixes them. The additional channels are 0 throughout. What fits no such pattern stays.
    """
    from ai_edge_litert import schema_py_generated as schema

    network, kinds = unpack_model(model)
    n_changed = sum(_Graph(schema, graph, network.buffers, kinds).widen(least) for graph in network.subgraphs)
    return pack_model(network) if n_changed else model


class _Graph:
    """A graph whose arrays and operators are changed in place."""

    def __init__(self, schema: Any, graph: Any, buffers: list[Any], kinds: list[str]) -> None:
        self._schema, self._graph, self._buffers, self._kinds = schema, graph, buffers, kinds
        self._steps = [(kinds[one.opcodeIndex], one.inputs.tolist(), int(one.outputs[0])) for one in graph.operators]
        self._stored = {output: inputs[0] for kind, inputs, output in self._steps if kind == "DEQUANTIZE"}
        self._added: list[Any] = []  # operators that convert new constants
        self._readers: dict[int, list[int]] = {number: [] for number in range(len(graph.tensors))}
        for place, (_, inputs, _) in enumerate(self._steps):
            for number in inputs:
                self._readers[number].append(place)

    def widen(self, least: int) -> int:
        """Widen all chains and return their number."""
        chains = [chain for place in range(len(self._steps)) if (chain := self._chain_from(place, least))]
        for chain in chains:
            for place in chain[:-1]:
                kind, (_, *constants), output = self._steps[place]
                for position in range(len(constants)):
                    self._pad(place, 1 + position, 0 if kind == "CONV_2D" else -1, least)
                array = self._graph.tensors[output]
                array.shape = np.array([*array.shape[:-1], least], np.int32)
            self._pad(chain[-1], 1, -1, least)
        read = {number for one in self._graph.operators for number in one.inputs.tolist()}
        unread = self._stored.keys() - read - set(self._graph.outputs.tolist())
        self._graph.operators = [
            *self._added,
            *(one for one in self._graph.operators if int(one.outputs[0]) not in unread),
        ]
        return len(chains)

    def _chain_from(self, place: int, least: int) -> list[int]:
        """Return the places of the operators of the chain that begins at one; empty if none does."""
        kind, inputs, output = self._steps[place]
        if kind != "CONV_2D" or self._channels(output) >= least or not self._are_constants(inputs[1:]):
            return []
        chain = [place]
        while len(self._readers[output]) == 1 and output not in self._graph.outputs:
            kind, (first, *constants), following = self._steps[self._readers[output][0]]
            n_channels = self._channels(output)
            if first != output or not self._are_constants(constants) or self._channels(constants[0]) != n_channels:
                return []
            chain += self._readers[output]
            if kind == "CONV_2D":
                return chain
            if kind not in ("PRELU", "DEPTHWISE_CONV_2D") or self._channels(following) != n_channels:
                return []
            output = following
        return []

    def _channels(self, number: int) -> int:
        return int(self._graph.tensors[number].shape[-1])

    def _values(self, number: int) -> np.ndarray | None:
        """Return the values of a constant; None of other arrays, and of types other than ``FLOATS``."""
        array = self._graph.tensors[self._stored.get(number, number)]
        data = self._buffers[array.buffer].data
        if data is None or not len(data) or array.type >= len(FLOATS):
            return None
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), FLOATS[array.type]).reshape(array.shape)

    def _are_constants(self, numbers: list[int]) -> bool:
        return len(numbers) > 0 and all(self._values(number) is not None for number in numbers)

    def _pad(self, place: int, position: int, axis: int, least: int) -> None:
        """Let an operator read a constant that is padded by zeros behind an axis; others keep theirs."""
        operator = self._graph.operators[place]
        values = self._values(int(operator.inputs[position]))
        if values is None:
            raise ValueError("expected a constant")
        operator.inputs = operator.inputs.copy()
        operator.inputs[position] = self._add(widened(values, axis % values.ndim, least))

    def _add(self, values: np.ndarray) -> int:
        """Add a constant and return its number; one in 16 bits is read by way of an operator, as the others are."""
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._buffers.append(buffer)
        number = self._add_array(values.shape, FLOATS.index(values.dtype.type), len(self._buffers) - 1)
        if values.dtype == np.float32:
            return number
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._kinds.index("DEQUANTIZE")
        output = self._add_array(values.shape, 0, 0)
        operator.inputs, operator.outputs = np.array([number], np.int32), np.array([output], np.int32)
        self._added.append(operator)
        self._stored[output] = number
        return output

    def _add_array(self, shape: tuple[int, ...], kind: int, buffer: int) -> int:
        array = self._schema.TensorT()
        array.shape, array.type, array.buffer = np.array(shape, np.int32), kind, buffer
        array.name = f"wide{len(self._graph.tensors)}"
        self._graph.tensors.append(array)
        return len(self._graph.tensors) - 1
