"""Crops in, embeddings of unit length out: networks, weights, augmentation.

``load_encoder`` loads weights, ``LoadedEncoder.embed`` runs them, ``augment`` makes training inputs.
Imports ``system`` and ``schemas``, and torch. It never imports mediapipe or dask.
"""

from tclr.pipeline.encoder.augment import N_DRAWS, augment, flipped
from tclr.pipeline.encoder.inference import (
    LoadedEncoder,
    PrecisionChoice,
    choose_precision,
    default_device,
    encoder_digest,
    encoder_inside,
    load_backbone,
    load_encoder,
    pooled_features,
    untrained_encoder,
)
from tclr.pipeline.encoder.info import EncoderInfo, info_to_json
from tclr.pipeline.encoder.input_transform import normalise, to_input
from tclr.pipeline.encoder.network import TemporalEncoder, build_encoder
from tclr.pipeline.encoder.weights import (
    ENCODER_INSIDE,
    INSIDE_PREFIX,
    check_unpacked,
    fit_weights,
    load_weights,
    save_encoder,
)

__all__ = [
    "ENCODER_INSIDE",
    "EncoderInfo",
    "INSIDE_PREFIX",
    "LoadedEncoder",
    "N_DRAWS",
    "PrecisionChoice",
    "TemporalEncoder",
    "augment",
    "build_encoder",
    "check_unpacked",
    "choose_precision",
    "default_device",
    "encoder_digest",
    "encoder_inside",
    "fit_weights",
    "flipped",
    "info_to_json",
    "load_backbone",
    "load_encoder",
    "load_weights",
    "normalise",
    "pooled_features",
    "save_encoder",
    "to_input",
    "untrained_encoder",
]
