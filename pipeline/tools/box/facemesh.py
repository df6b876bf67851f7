"""The encoder that starts from the weights that Google gave its face landmark network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tclr.pipeline.encoder import save_encoder
from tclr.pipeline.pretraining import start_encoder
from tclr.schemas.config import PretrainConfig

RECIPE = "mediapipe's face landmarks"


def write_facemesh_encoder(path: Path, image_size: int, crop_ratio: float, seed: int) -> None:
    """Write the encoder that starts from these weights; its embedding layer is random."""
    model, info = start_encoder(PretrainConfig(arch="facemesh", seed=seed), "facemesh")
    info = replace(info, image_size=image_size, crop_ratio=crop_ratio, recipe=RECIPE, seed=seed)
    save_encoder(path, model, info)
