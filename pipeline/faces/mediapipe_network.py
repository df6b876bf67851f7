"""The networks of mediapipe's bundle as lists of operators, with their weights: what PyTorch needs to run or train one.

The bundle is the file that detection uses anyway, so that nothing else is fetched. Apache License 2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.faces.landmarker.bundle import LANDMARKS, read_entry
from tclr.pipeline.system import unpack_model
from tclr.schemas.errors import ModelError

DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}
"""Types of numbers by TensorFlow Lite's code."""


@dataclass(frozen=True)
class Operator:
    """One step: its kind, such as ``CONV_2D``, its options, and the numbers of the arrays that it reads and makes."""

    kind: str
    options: Any
    inputs: list[int]
    output: int


@dataclass(frozen=True)
class Graph:
    """The steps of a network in order; ``constants`` are its weights, float32 or int64, by number."""

    operators: list[Operator]
    constants: dict[int, np.ndarray]
    input: int
    outputs: list[int]


def read_graph(bundle: Path, name: str) -> Graph:
    """Return a network of the bundle. Weights stored in 16 bits are in ``constants`` as the operators read them.

    Raises
    ------
    ModelError
        If the bundle holds no such network.

    >>> from tclr.pipeline.faces import find_model
    >>> graph = read_graph(find_model(), LANDMARKS)
    >>> graph.operators[0].kind, len(graph.outputs)
    ('CONV_2D', 3)
    """
    content = read_entry(bundle, name)
    try:
        network, kinds = unpack_model(content)
        (graph,) = network.subgraphs
        constants = dict(_constants(network, graph))
        operators = []
        for one in graph.operators:
            kind, inputs, output = kinds[one.opcodeIndex], one.inputs.tolist(), int(one.outputs[0])
            if kind == "DEQUANTIZE":
                constants[output] = constants[inputs[0]]
            else:
                operators.append(Operator(kind, one.builtinOptions, inputs, output))
        return Graph(operators, constants, int(graph.inputs[0]), graph.outputs.tolist())
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise ModelError(f"Expected a network in {name} of {bundle}, but got {error!r}.") from error


def _constants(network: Any, graph: Any) -> Iterator[tuple[int, np.ndarray]]:
    for number, tensor in enumerate(graph.tensors):
        data = network.buffers[tensor.buffer].data
        if data is not None and len(data):
            values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), DTYPES[tensor.type]).reshape(tensor.shape)
            yield number, values.astype(np.int64 if values.dtype == np.int32 else np.float32)


def read_landmark_network(bundle: Path) -> list[tuple[bool, list[np.ndarray]]]:
    """Return, for each layer with weights, whether it is a depthwise convolution, and its float32 arrays.

    A convolution has a weight, channels last, and a bias; a PReLU has its slopes.

    Raises
    ------
    ModelError
        If the bundle holds no such network.

    Examples
    --------
    >>> from tclr.pipeline.faces import find_model
    >>> depthwise, (weight, bias) = read_landmark_network(find_model())[0]
    >>> depthwise, weight.shape, bias.shape
    (False, (16, 3, 3, 3), (16,))
    """
    graph = read_graph(bundle, LANDMARKS)
    return [
        (one.kind == "DEPTHWISE_CONV_2D", [graph.constants[number] for number in one.inputs[1:]])
        for one in graph.operators
        if one.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "PRELU")
    ]
