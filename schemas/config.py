"""One frozen settings object per stage; unknown keys and values out of range are errors.

The defaults stand here and nowhere else: the command line builds its options from these classes
(``cli/options.py``), and a TOML file given with ``--config`` has one table a class (``[detect]``, ``[align]``,
``[pretrain]``, ``[fit_au]``, ``[embed]``).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tclr.schemas.errors import SettingError

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, one canonical JSON form."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> str:
        """Return the canonical JSON text: keys sorted, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of ``to_json()``."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


class DetectConfig(Settings):
    """How faces are found. Changing any of these means detecting again."""

    detector: str = Field("mediapipe", description="Landmark detector: mediapipe, face-alignment, or an installed one.")
    face_detector: Literal["sfd", "blazeface"] = Field(
        "sfd", description="Which network finds the faces for --detector face-alignment; no other detector asks."
    )
    fps: float = Field(0.0, ge=0, description="Frames a second to take, by time; 0 takes every frame.")
    image_fps: float = Field(25.0, gt=0, description="Frames a second of image sequences; BP4D's are always 25.")
    faces: Literal["subject", "all"] = Field(
        "subject", description="Follow the subject, or write each person's track as a clip of its own (<clip>#1)."
    )
    max_faces: int = Field(
        4, ge=1, le=16, description="Faces looked for in a frame, where a look at the clip shows several."
    )
    min_detection_confidence: float = Field(0.5, ge=0, le=1, description="Detector's threshold for a new face.")
    min_presence_confidence: float = Field(0.5, ge=0, le=1, description="Landmark model's threshold for a face.")
    min_tracking_confidence: float = Field(0.5, ge=0, le=1, description="Threshold to go on tracking a face.")
    score_every: int = Field(8, ge=1, description="Check score and looks of a tracked face every N source frames.")
    min_score: float = Field(0.4, ge=0, le=1, description="Score below which a frame is marked low_confidence.")
    max_gap_s: float = Field(0.2, ge=0, description="Longest gap in seconds that the face is interpolated through.")
    min_face_px: float = Field(0.0, ge=0, description="Face size below which a frame is marked low_confidence.")
    segment_s: float = Field(
        300.0,
        ge=0,
        description="Clips 1.5 times this long or longer are done in segments of about that many seconds; 0 never.",
    )


class AlignConfig(Settings):
    """How crops are cut and stored. Landmarks do not depend on it, unless large JPEG images are to be reduced less."""

    size: int = Field(224, ge=16, le=2048, description="Side of the square crop in pixels.")
    template: Literal["tclr", "arcface"] = Field("tclr", description="Where eyes, nose and mouth lie in the crop.")
    smooth_s: float = Field(
        0.06, ge=0, le=1, description="Width in seconds of the zero-lag smoothing of the crop's motion; 0 for none."
    )
    margin: float = Field(
        1.0, gt=0.2, le=4, description="Zoom out: 1 is the template as it is, 1.2 shows 20% more around it."
    )
    codec: Literal["zstd", "lz4", "gzip", "none", "jpeg"] = Field("zstd", description="How crops are compressed.")
    jpeg_quality: int = Field(95, ge=1, le=100, description="Quality of the jpeg codec.")


class PretrainConfig(Settings):
    """Temporal-consistency pretraining. Defaults are the paper's (section 4) unless a line says otherwise."""

    epochs: int = Field(50, ge=1, description="Passes over all clips.")
    batch_size: int = Field(48, ge=1, description="Tuples a step, over all processes and micro-batches.")
    accumulate: int = Field(1, ge=1, description="Micro-batches that a step is done in, to save memory.")
    anchors_per_clip: int = Field(1, ge=1, description="Random anchors a clip and epoch.")
    spacing: int = Field(1, ge=1, description="Frames between neighbours of a tuple (k).")
    n_following: int = Field(10, ge=1, le=64, description="Frames after the sibling (N); a tuple has N + 2.")
    margin: float = Field(0.03, ge=0, description="Margin of each triplet loss.")
    image_size: int = Field(
        224, ge=32, le=1024, description="Encoder input in pixels, a random crop of the resized crop."
    )
    crop_ratio: float = Field(0.875, gt=0.3, le=1, description="Random crop's side as a share of the resized crop.")
    augment: Literal["tuple", "frame", "none"] = Field(
        "tuple", description="Draw crop, flip and colour once a tuple, once a frame, or never."
    )
    colour_jitter: float = Field(0.2, ge=0, le=0.9, description="Largest relative change of brightness and contrast.")
    embedding_dim: int = Field(256, ge=2, le=4096, description="Length of the embedding.")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="Optimizer.")
    learning_rate: float = Field(0.001, gt=0, description="Learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay; with adamw none on norms and biases.")
    schedule: Literal["constant", "cosine"] = Field("constant", description="Learning rate after the warm-up.")
    warmup_epochs: float = Field(0.0, ge=0, description="Epochs in which the learning rate rises from 0.")
    grad_clip: float = Field(0.0, ge=0, description="Largest norm of the gradient; 0 does not clip.")
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay a step of the averaged weights that are validated and released; 0 for none."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the encoder; auto is bf16 on a GPU, fp32 on a CPU."
    )
    compile: bool = Field(False, description="Compile the encoder with torch.compile.")
    val_share: float = Field(0.2, ge=0, lt=1, description="Share of subjects held out to measure ranking accuracy.")
    checkpoint_every: int = Field(1, ge=1, description="Epochs between checkpoints.")
    checkpoint_every_s: float = Field(600.0, ge=0, description="Seconds between checkpoints within an epoch.")
    num_workers: int = Field(0, ge=0, description="Loader processes; 0 loads in the trainer.")
    seed: int = Field(0, ge=0, description="Seed of everything that is random.")


class FitAuConfig(Settings):
    """Linear AU head on the frozen encoder."""

    batch_size: int = Field(128, ge=1, description="Frames a step of the encoder.")
    l2: float = Field(0.01, gt=0, description="L2 penalty on the head's weights, beside the mean loss a frame.")
    folds: int = Field(5, ge=2, description="Subject-exclusive folds for thresholds and the reported scores.")
    seed: int = Field(0, ge=0, description="Seed of the folds and of the random encoder (the same as in embed).")


class EmbedConfig(Settings):
    """Export of embeddings and AU predictions."""

    batch_size: int = Field(128, ge=1, description="Frames a step of the encoder.")
    blendshapes: bool = Field(False, description="Add the 52 blendshape columns bs_<name>.")
    seed: int = Field(0, ge=0, description="Seed of the random encoder (the same as in fit-au).")


def parse_settings(kind: type[S], values: dict[str, Any], where: str) -> S:
    """Build a settings object; turn every complaint into one readable line.

    Parameters
    ----------
    kind : type
        One of the classes above.
    values : dict
        Setting names and values, as parsed from TOML or the command line.
    where : str
        Where the values come from, for the message.

    Raises
    ------
    SettingError
        For an unknown key (with the known ones, sorted) or a value out of range.
    """
    unknown = sorted(set(values) - set(kind.model_fields))
    if unknown:
        known = ", ".join(sorted(kind.model_fields))
        raise SettingError(f"Unknown setting {unknown[0]!r} in {where}. Known settings: {known}.")
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingError(f"Setting {name!r} in {where}: {first['msg']}, but got {first['input']!r}.") from error
