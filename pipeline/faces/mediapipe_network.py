"""The weights of mediapipe's face landmark network, read from its bundle: arrays by layer, in the order of the network.

They are a start for an encoder. The bundle is the file that detection uses anyway, so that nothing else is fetched.
Apache License 2.0.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tclr.schemas.errors import ModelError

NETWORK = "face_landmarks_detector.tflite"
"""The network's name in the bundle."""


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
    try:
        with zipfile.ZipFile(bundle) as archive:
            return list(_read_layers(archive.read(NETWORK)))
    except (KeyError, ValueError, IndexError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"Expected mediapipe's face landmark network in {bundle}, but got {error!r}.") from error


def _read_layers(content: bytes) -> Iterator[tuple[bool, list[np.ndarray]]]:
    from mediapipe.tasks.metadata import schema_py_generated as schema  # half a second

    network = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    (graph,) = network.subgraphs
    operators = schema.BuiltinOperator
    halves: dict[int, int] = {}
    for operator in graph.operators:
        kind = network.operatorCodes[operator.opcodeIndex].builtinCode
        if kind == operators.DEQUANTIZE:
            halves[operator.outputs[0]] = operator.inputs[0]
        elif kind in (operators.CONV_2D, operators.DEPTHWISE_CONV_2D, operators.PRELU):
            stored = [graph.tensors[halves[number]] for number in operator.inputs[1:]]
            yield kind == operators.DEPTHWISE_CONV_2D, [_to_array(network, tensor) for tensor in stored]


def _to_array(network: Any, tensor: Any) -> np.ndarray:
    """Return a tensor that is stored in 16 bits."""
    content = np.asarray(network.buffers[tensor.buffer].data, np.uint8).tobytes()
    return np.frombuffer(content, np.float16).reshape(tensor.shape).astype(np.float32)
