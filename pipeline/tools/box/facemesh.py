"""The weights that Google gave its face landmark network, as a start for an encoder.

They are read from the bundle that preprocessing uses anyway, so that nothing else is downloaded. Apache License 2.0.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tclr.pipeline.encoder import EncoderInfo, build_encoder, save_encoder
from tclr.pipeline.faces import find_model
from tclr.schemas.errors import ModelError

NETWORK = "face_landmarks_detector.tflite"
"""The network's name in the bundle."""
RECIPE = "mediapipe's face landmarks"


def _weights_in_order(content: bytes) -> Iterator[tuple[bool, list[np.ndarray]]]:
    """Yield, for each layer of a TFLite network in its order, whether it is depthwise, and its constant tensors."""
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


def read_facemesh(bundle: Path) -> dict[str, Tensor]:
    """Return the trunk's weights by their names in ``FaceMesh``.

    Raises
    ------
    ModelError
        If the bundle holds another network.
    """
    model = build_encoder(1, 0, "facemesh").get_submodule("facemesh")
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.PReLU)]
    weights: dict[str, Tensor] = {}
    try:
        with zipfile.ZipFile(bundle) as archive:
            given = _weights_in_order(archive.read(NETWORK))
            for name, (is_depthwise, arrays) in zip(layers, given, strict=False):
                weight = arrays[0]
                if len(arrays) == 2:  # TensorFlow keeps channels last
                    weight = weight.transpose((3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2))
                    weights[f"{name}.bias"] = torch.tensor(arrays[1])
                weights[f"{name}.weight"] = torch.tensor(weight if len(arrays) == 2 else weight.ravel())
        model.load_state_dict(weights)
    except (KeyError, ValueError, IndexError, RuntimeError, zipfile.BadZipFile) as error:
        raise ModelError(f"Expected mediapipe's face landmark network in {bundle}, but got {error!r}.") from error
    return weights


def write_facemesh_encoder(path: Path, image_size: int, crop_ratio: float, seed: int) -> None:
    """Write the encoder that starts from these weights; its embedding layer is random."""
    info = EncoderInfo(
        image_size=image_size,
        crop_ratio=crop_ratio,
        mean=(0.0, 0.0, 0.0),  # the network reads pixels as 0..1
        std=(1.0, 1.0, 1.0),
        arch="facemesh",
        recipe=RECIPE,
        seed=seed,
    )
    model = build_encoder(info.embedding_dim, seed, info.arch)
    model.get_submodule("facemesh").load_state_dict(read_facemesh(find_model()))
    save_encoder(path, model, info)
