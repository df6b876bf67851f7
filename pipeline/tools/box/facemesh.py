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
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from tclr.pipeline.au import LabelledFrames
from tclr.pipeline.encoder import EncoderInfo, LoadedEncoder, build_encoder, normalise, to_input
from tclr.pipeline.faces import find_model
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.errors import ModelError

NETWORK = "face_landmarks_detector.tflite"
"""The network's name in the bundle."""
BLOCK = 64
"""Crops that go through the network at once."""
PENALTY = 0.03
"""Of the ridge regressions, per frame."""
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
        model.stages.load_state_dict({name.removeprefix("stages."): weight for name, weight in weights.items()})
    except (KeyError, ValueError, IndexError, RuntimeError, zipfile.BadZipFile) as error:
        raise ModelError(f"Expected mediapipe's face landmark network in {bundle}, but got {error!r}.") from error
    return weights


def facemesh_encoder(image_size: int, crop_ratio: float, seed: int) -> LoadedEncoder:
    """Return the encoder that starts from these weights; its embedding layer is random, see ``aim``."""
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
    weights = {f"facemesh.{name}": weight for name, weight in read_facemesh(find_model()).items()}
    model.load_state_dict(weights, strict=False)
    return LoadedEncoder(model, info)


def aim(encoder: LoadedEncoder, frames: LabelledFrames) -> LoadedEncoder:
    """Fit the embedding layer in closed form, in place; the network itself stays as it is.

    Features are standardised over the frames. Each AU gets one number of the embedding, a ridge regression of its
    intensity, or of its occurrence where only that is known; the others are principal components. All have unit
    variance before the embedding is normalised.
    """
    model, features = encoder.model, _features(encoder, frames)
    norm, layer = model.get_submodule("facemesh.norm"), model.fc1
    mean, var = features.mean(axis=0), features.var(axis=0)
    x = (features - mean) / np.sqrt(var + norm.eps)
    occurrence = np.where(frames.labels == UNKNOWN, np.nan, frames.labels)
    weights = []
    for column in np.where(np.isfinite(frames.intensities), frames.intensities, occurrence).T:
        known = np.isfinite(column)
        weights.append(Ridge(alpha=PENALTY * known.sum()).fit(x[known], column[known]).coef_)
    weight = np.concatenate([weights, PCA(layer.out_features - len(weights), random_state=0).fit(x).components_])
    weight /= (x @ weight.T).std(axis=0)[:, None]
    with torch.no_grad():
        for tensor, value in ((norm.running_mean, mean), (norm.running_var, var), (layer.weight, weight)):
            tensor.copy_(torch.from_numpy(value))
        layer.bias.zero_()
    return LoadedEncoder(model, encoder.info, encoder.device)


@torch.inference_mode()
def _features(encoder: LoadedEncoder, frames: LabelledFrames) -> np.ndarray:
    """Return the (N, 1152) features of frames before they are normalised; its statistics must be untouched."""
    places = np.array_split(np.arange(len(frames)), max(1, len(frames) // BLOCK))
    blocks = (to_input(torch.from_numpy(frames.crops(some)).to(encoder.device), encoder.info) for some in places)
    return torch.cat([encoder.model.features(normalise(block, encoder.info)).cpu() for block in blocks]).numpy()
