"""The encoder that starts from the weights that Google gave its face landmark network, aimed at AUs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from tclr.pipeline.au import LabelledFrames
from tclr.pipeline.encoder import TorchEncoder, normalise, to_input
from tclr.pipeline.pretraining import start_encoder
from tclr.schemas.config import PretrainConfig

BLOCK = 64
"""Crops that go through the network at once."""
PENALTY = 0.03
"""Of the ridge regressions, per frame."""
RECIPE = "mediapipe's face landmarks"


def facemesh_encoder(image_size: int, crop_ratio: float, seed: int) -> TorchEncoder:
    """Return the encoder that starts from these weights; its embedding layer is random, see ``aim``."""
    model, info = start_encoder(PretrainConfig(arch="facemesh", seed=seed), "facemesh")
    info = replace(info, image_size=image_size, crop_ratio=crop_ratio, recipe=RECIPE, seed=seed)
    return TorchEncoder(model, info)


def aim(encoder: TorchEncoder, frames: LabelledFrames) -> TorchEncoder:
    """Fit the embedding layer in closed form, in place; the network itself stays as it is.

    Features are standardised over the frames. Each AU gets one number of the embedding, a ridge regression of its
    intensity, or of its occurrence where only that is known; the others are principal components. All have unit
    variance before the embedding is normalised.
    """
    model, features = encoder.model, _features(encoder, frames)
    norm, layer = model.get_submodule("facemesh.norm"), model.fc1
    mean, var = features.mean(axis=0), features.var(axis=0)
    x = (features - mean) / np.sqrt(var + norm.eps)
    weights = []
    for column in frames.targets.T:
        known = np.isfinite(column)
        weights.append(Ridge(alpha=PENALTY * known.sum()).fit(x[known], column[known]).coef_)
    n_free = min(layer.out_features - len(weights), *x.shape)
    weights += list(PCA(n_free, random_state=0).fit(x).components_)
    weight = layer.weight.detach().numpy().copy()  # stays random where there are too few frames
    weight[: len(weights)] = weights
    weight /= (x @ weight.T).std(axis=0)[:, None]
    with torch.no_grad():
        own = model.state_dict()
        norms = {"facemesh.norm.running_mean": mean, "facemesh.norm.running_var": var}
        for name, value in (norms | {"fc1.weight": weight}).items():
            own[name].copy_(torch.from_numpy(value))
        layer.bias.zero_()
    return TorchEncoder(model, encoder.info, encoder.device)


@torch.inference_mode()
def _features(encoder: TorchEncoder, frames: LabelledFrames) -> np.ndarray:
    """Return the (N, 2048) features of frames before they are normalised; its statistics must be untouched."""
    places = np.array_split(np.arange(len(frames)), max(1, len(frames) // BLOCK))
    blocks = (to_input(torch.from_numpy(frames.crops(some)).to(encoder.device), encoder.info) for some in places)
    return torch.cat([encoder.model.features(normalise(block, encoder.info)).cpu() for block in blocks]).numpy()
