"""One frozen settings object per stage; unknown keys and values out of range are errors.

This is the only place with defaults. ``cli/options.py`` builds the options of the command line from these classes, and
a TOML file given with ``--config`` has one table per class, for example ``[fit_au]`` for ``FitAuConfig``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from tclr.schemas.errors import SettingError, suggestion

if TYPE_CHECKING:
    import numpy as np

S = TypeVar("S", bound="Settings")

MAX_CLIP_FRAMES = 2**24
"""Longer clips are refused, whatever their source: more than a week at 25 frames/s."""


class Settings(BaseModel):
    """Base of all settings: frozen, without unknown keys, with one canonical JSON form.

    >>> AlignConfig(size=96).size, AlignConfig().digest() == AlignConfig(size=224).digest()
    (96, True)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> str:
        """Return the canonical JSON text: keys sorted, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of ``to_json()``."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


NEWER_SETTINGS = {"device": "cpu", "rotate": "auto", "subject_at": "", "subject_face": ""}
"""Settings of detection that stores of 0.1.0 do not have, with their defaults."""


class DetectConfig(Settings):
    """Detection of faces. A change of any of these means detecting again."""

    detector: str = Field(
        "landmarker",
        description="Landmark detector: landmarker, mediapipe (the same networks in mediapipe's own graph), "
        "face-alignment, or a plugin.",
    )
    face_detector: Literal["sfd", "blazeface"] = Field(
        "sfd", description="Network that detects faces for --detector face-alignment; other detectors ignore it."
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where --detector landmarker runs its landmark network; other detectors ignore it."
    )
    fps: float = Field(0.0, ge=0, description="Frames per second to keep, by time; 0 keeps every frame.")
    image_fps: float = Field(25.0, gt=0, description="Frames per second of image sequences; BP4D always has 25.")
    faces: Literal["subject", "all"] = Field(
        "subject", description="Follow the subject, or write one clip per person (<clip>#1)."
    )
    max_faces: int = Field(4, ge=1, le=16, description="Most faces to detect per frame, in clips that show several.")
    min_detection_confidence: float = Field(0.5, ge=0, le=1, description="Detector's threshold for a new face.")
    min_presence_confidence: float = Field(0.5, ge=0, le=1, description="Landmark model's threshold for a face.")
    min_tracking_confidence: float = Field(0.5, ge=0, le=1, description="Threshold to keep tracking a face.")
    score_every: int = Field(8, ge=1, description="Source frames between checks of a face's score and appearance.")
    min_score: float = Field(0.4, ge=0, le=1, description="Score below which a frame is low_confidence.")
    max_gap_s: float = Field(0.2, ge=0, description="Longest gap, in seconds, that is interpolated.")
    min_face_px: float = Field(0.0, ge=0, description="Face size in pixels below which a frame is low_confidence.")
    rotate: Literal["auto", "0", "90", "180", "270"] = Field(
        "auto",
        description="Degrees to turn pictures clockwise so that faces are upright; auto detects it, except for stills.",
    )
    segment_s: float = Field(
        300.0,
        ge=0,
        description="Process clips of 1.5 times this many seconds or more in segments of about this length; 0 never.",
    )
    subject_at: str = Field(
        "",
        description="Where the subject's face is when it is first seen, such as 0.75,0.4: fractions of the picture's "
        "width and height from the top left.",
    )
    subject_face: str = Field(
        "",
        description="Picture of the subject's face alone, best from the same day; the most similar person is taken.",
    )

    @field_validator("subject_at")
    @classmethod
    def _is_a_place(cls, text: str) -> str:
        try:
            place = [float(part) for part in text.split(",")] if text else [0.0, 0.0]
        except ValueError:
            place = []
        if len(place) != 2 or not all(0 <= share <= 1 for share in place):
            raise ValueError("expected x,y as fractions (0..1) of width and height, such as 0.75,0.4")
        return text and f"{place[0]:g},{place[1]:g}"

    @field_validator("subject_at", "subject_face")
    @classmethod
    def _names_one_of_several(cls, text: str, info: ValidationInfo) -> str:
        if text and info.data.get("max_faces") == 1:
            raise ValueError("expected '' where 'max_faces' is 1: then the only face is the subject")
        if text and info.data.get("subject_at"):
            raise ValueError("expected '' where 'subject_at' names the subject")
        return text

    @model_serializer(mode="wrap")
    def _leave_out_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out newer settings that have their default, so that older stores keep their ``digest``."""
        return {name: value for name, value in handler(self).items() if NEWER_SETTINGS.get(name) != value}

    @property
    def place(self) -> tuple[float, float] | None:
        """``subject_at`` as numbers; ``None`` if it is not given.

        >>> DetectConfig(subject_at="0.75,0.4").place
        (0.75, 0.4)
        """
        x, _, y = self.subject_at.partition(",")
        return (float(x), float(y)) if self.subject_at else None


class LimitsConfig(Settings):
    """Limits on input, checked before decoding. They are not stored, so a change repeats no work."""

    max_megapixels: float = Field(
        160.0, gt=0, le=1073, description="Largest image in megapixels; a clip with a larger one fails."
    )
    max_frames: int = Field(
        10_000_000, ge=1, le=MAX_CLIP_FRAMES, description="Longest clip in frames; longer ones fail."
    )

    @property
    def max_pixels(self) -> int:
        """Pixels of the largest image."""
        return round(self.max_megapixels * 1e6)


DEFAULT_LIMITS = LimitsConfig()


class AlignConfig(Settings):
    """Cutting and storing of crops. Landmarks depend on it only where large JPEG images must be reduced less."""

    size: int = Field(224, ge=16, le=2048, description="Side of the square crop in pixels.")
    template: Literal["tclr", "arcface"] = Field("tclr", description="Positions of eyes, nose and mouth in the crop.")
    smooth_s: float = Field(
        0.06, ge=0, le=1, description="Width in seconds of the zero-lag smoothing of crop motion; 0 for none."
    )
    margin: float = Field(
        1.0, gt=0.2, le=4, description="Field of view: 1 is that of the template, 1.2 shows 20% more around it."
    )
    codec: Literal["zstd", "lz4", "gzip", "none", "jpeg"] = Field("zstd", description="Compression of crops.")
    jpeg_quality: int = Field(95, ge=1, le=100, description="Quality of the jpeg codec.")
    frames: bool = Field(True, description="Store crops, or only landmarks and measures derived from them.")

    @model_serializer(mode="wrap")
    def _leave_out_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ``frames`` if true, so that stores older than this setting keep their ``digest``."""
        return {name: value for name, value in handler(self).items() if name != "frames" or not value}


PAPER = {
    "n_following": 10,
    "shift": 0.0625,
    "flip": 0.0,
    "rotation_deg": 0.0,
    "zoom": 0.0,
    "tilt": 0.0,
    "colour_jitter": 0.0,
    "light_jitter": 0.0,
    "blur": 0.0,
    "ranking_weight": 1.0,
    "spacing_min_s": 0.0,
    "spacing_max_s": 0.0,
    "direction": "forward",
    "geometry_weight": 0.0,
    "optimizer": "sgd",
    "learning_rate": 0.001,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "grad_clip": 0.0,
    "precision": "fp32",
}
"""Settings of the paper, as in its authors' repository, that differ from tclr's."""


class PretrainConfig(Settings):
    """Temporal-consistency pretraining. Defaults are those of tclr's recipe; ``recipe="paper"`` has its own."""

    recipe: Literal["tclr", "paper"] = Field("tclr", description="Defaults of other settings: tclr's or the paper's.")
    arch: Literal["resnet18", "resnet50", "densenet121", "mobilenet_v2", "facemesh"] = Field(
        "resnet18", description="Network; the paper's is resnet18."
    )
    epochs: int = Field(50, ge=1, description="Passes over all clips.")
    batch_size: int = Field(48, ge=1, description="Tuples per step, over all processes and micro-batches.")
    accumulate: int = Field(1, ge=1, description="Micro-batches per step; more save memory.")
    anchors_per_clip: int = Field(1, ge=1, description="Random anchors per clip and epoch.")
    spacing: int = Field(1, ge=1, description="Spacing of a tuple in frames (k); if not given, it is in seconds.")
    spacing_min_s: float = Field(
        0.04, ge=0, description="Smallest spacing in seconds, drawn per tuple; 0 uses --spacing."
    )
    spacing_max_s: float = Field(
        0.24, ge=0, validate_default=True, description="Largest spacing in seconds; 0 uses --spacing."
    )
    direction: Literal["forward", "both"] = Field("both", description="Tuples run forward, or half of them backward.")
    n_following: int = Field(4, ge=1, le=64, description="Frames after the sibling (N); a tuple has N + 2.")
    image_size: int = Field(224, ge=32, le=1024, description="Side of the encoder's input in pixels.")
    crop_ratio: float = Field(0.875, gt=0.3, le=1, description="Side of the input as a share of the stored crop's.")
    augment: Literal["tuple", "frame", "none"] = Field(
        "frame", description="Augment each frame separately, all frames of a tuple alike, or none."
    )
    shift: float = Field(0.03, ge=0, le=1, description="Largest shift, as a share of the stored crop's side.")
    flip: float = Field(0.5, ge=0, le=1, description="Share of tuples that are mirrored.")
    rotation_deg: float = Field(5.0, ge=0, le=45, description="Largest in-plane rotation in degrees.")
    zoom: float = Field(0.06, ge=0, lt=0.5, description="Largest relative change of size; half as much of shape.")
    tilt: float = Field(0.06, ge=0, le=0.3, description="Strongest perspective distortion, as of a turned head.")
    colour_jitter: float = Field(
        0.3, ge=0, le=1, description="Changes of brightness, contrast, colour and gamma: their largest logarithm."
    )
    light_jitter: float = Field(0.3, ge=0, le=1, description="Largest logarithm of a light from one side.")
    blur: float = Field(0.2, ge=0, le=1, description="Share of pictures that are blurred.")
    ranking_weight: float = Field(0.3, ge=0, description="Weight of the ranking loss.")
    margin: float = Field(0.03, ge=0, description="Margin of each triplet in the ranking loss.")
    geometry_weight: float = Field(5.0, ge=0, description="Weight of predicting landmark and blendshape movement.")
    geometry_components: int = Field(48, ge=1, description="Number of whitened directions of movement to predict.")
    supervision_weight: float = Field(0.0, ge=0, description="Weight of AU labels in place of geometry, as a ceiling.")
    embedding_dim: int = Field(256, ge=2, le=4096, description="Length of the embedding.")
    optimizer: Literal["sgd", "adamw"] = Field("adamw", description="Optimizer.")
    learning_rate: float = Field(0.002, gt=0, description="Learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(0.05, ge=0, description="Weight decay; adamw excludes norms and biases.")
    schedule: Literal["constant", "cosine"] = Field("cosine", description="Course of the learning rate after warm-up.")
    warmup_epochs: float = Field(0.3, ge=0, description="Epochs during which the learning rate rises from 0.")
    grad_clip: float = Field(1.0, ge=0, description="Largest gradient norm; 0 disables clipping.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the encoder; auto is bf16 on a GPU and fp32 on a CPU."
    )
    compile: bool = Field(False, description="Compile the encoder with torch.compile.")
    val_share: float = Field(0.2, ge=0, lt=1, description="Share of subjects to hold out for validation.")
    leave_out: str = Field(
        "", description="Subjects to leave out: names or patterns separated by commas, such as P0*,F001."
    )
    checkpoint_every: int = Field(1, ge=1, description="Epochs between checkpoints.")
    checkpoint_every_s: float = Field(600.0, ge=0, description="Seconds between checkpoints within an epoch.")
    num_workers: int = Field(0, ge=0, description="Loader processes; 0 loads in the training process.")
    seed: int = Field(0, ge=0, description="Seed of all random numbers.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recipe(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if values.get("recipe") == "paper":
            return {**PAPER, **values}
        if "spacing" in values and not {"spacing_min_s", "spacing_max_s"} & values.keys():
            return {"spacing_min_s": 0.0, "spacing_max_s": 0.0, **values}  # in frames alone
        return values

    @field_validator("supervision_weight")
    @classmethod
    def _has_one_target(cls, weight: float, info: ValidationInfo) -> float:
        if weight and info.data.get("geometry_weight"):
            raise ValueError("expected 0 unless 'geometry_weight' is 0")
        return weight

    @field_validator("spacing_max_s")
    @classmethod
    def _is_a_range(cls, largest: float, info: ValidationInfo) -> float:
        smallest = info.data.get("spacing_min_s", 0.0)
        if largest < smallest or (largest > 0 and smallest == 0):
            raise ValueError(f"expected at least 'spacing_min_s', which is {smallest}, and both above 0 or both 0")
        return largest


class FitAuConfig(Settings):
    """Fitting of an AU head."""

    head: Literal["linear", "mlp", "blend", "finetune"] = Field(
        "linear",
        description="Linear or one hidden layer (mlp) on fixed inputs, an average of rules, of regressions on shape "
        "and embedding, and of the encoder's own head (blend), or fine-tune the encoder, too.",
    )
    inputs: Literal["embedding", "blendshapes", "both", "shape", "face"] = Field(
        "embedding",
        validate_default=True,
        description="Input of the head: embeddings, mediapipe's blendshapes, both, landmarks without head pose and "
        "blendshapes (shape), or these and embeddings (face).",
    )
    loss: Literal["bce", "weighted", "asymmetric"] = Field(
        "bce", description="Binary cross entropy, the same with rare AUs weighted, or the asymmetric loss."
    )
    l2: float = Field(0.01, gt=0, description="L2 penalty on the linear head's weights, added to the mean loss.")
    hidden_dim: int = Field(128, ge=1, description="Units of the mlp's hidden layer.")
    dropout: float = Field(0.3, ge=0, lt=1, description="Share of the mlp's hidden units dropped at random.")
    epochs: int = Field(
        30,
        ge=0,
        description="Most passes over the frames; fewer if better (mlp, finetune). 0 leaves the encoder as it is "
        "(finetune).",
    )
    learning_rate: float = Field(0.001, gt=0, description="Learning rate of the head (mlp, finetune).")
    encoder_learning_rate: float = Field(0.0001, gt=0, description="Learning rate of the encoder (finetune).")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW (mlp, finetune).")
    degrade: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of crops degraded as in poor video: coarse, compressed, noisy, grey, half hidden "
        "(finetune).",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the encoder (finetune); auto is bf16 on a GPU, fp32 on a CPU."
    )
    half: bool = Field(False, description="Round the encoder's weights to 16 bits to halve the file (finetune).")
    leave_out: str = Field(
        "", description="Subjects to leave out: names or patterns separated by commas, such as P0*,F001."
    )
    scale_on: str = Field(
        "",
        description="Subjects who only set the scale of probabilities and intensities, and the thresholds: names or "
        "patterns separated by commas (blend). By default, those whom the encoder has not learnt from.",
    )
    smooth_s: float = Field(
        0.0,
        ge=0,
        description="Standard deviation in seconds of the Gaussian that smooths predictions over time.",
        json_schema_extra={"flag": "smooth"},
    )
    neutral_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Largest share of neutral frames, whose intensities are all below 0.5, on which an AU may count "
        "as present: thresholds are raised until it holds. 1 sets no limit.",
    )
    noticed_from: float = Field(
        0.0,
        ge=0,
        le=5,
        description="Intensity from which an AU should count as present: thresholds are chosen by it where intensities "
        "are known. 0 chooses them by the labels of presence.",
    )
    batch_size: int = Field(128, ge=1, description="Frames per step.")
    folds: int = Field(5, ge=2, description="Subject-exclusive folds for thresholds and the reported scores.")
    seed: int = Field(0, ge=0, description="Seed of folds, weights and the random encoder; embed needs the same.")

    @field_validator("inputs")
    @classmethod
    def _can_be_read(cls, inputs: str, info: ValidationInfo) -> str:
        if inputs != "embedding" and info.data.get("head") == "finetune":
            raise ValueError("expected embedding where 'head' is finetune")
        if inputs not in ("shape", "face") and info.data.get("head") == "blend":
            raise ValueError("expected shape or face where 'head' is blend")
        return inputs

    @field_validator("scale_on")
    @classmethod
    def _needs_a_scale(cls, scale_on: str, info: ValidationInfo) -> str:
        names = scale_on if scale_on.strip(" ,") else ""
        if names and info.data.get("head") != "blend":
            raise ValueError("expected '' unless 'head' is blend")
        return names

    @field_validator("loss")
    @classmethod
    def _fits_the_head(cls, loss: str, info: ValidationInfo) -> str:
        if loss == "asymmetric" and info.data.get("head") == "linear":
            raise ValueError("expected bce or weighted where 'head' is linear")
        return loss


class BoxConfig(Settings):
    """The recipe of the bundled models. The default sizes take two processor cores less than an hour and a half."""

    crop_size: int = Field(160, ge=32, description="Side of the stored crops in pixels.")
    image_size: int = Field(128, ge=32, description="Encoder input in pixels.")
    crop_ratio: float = Field(0.7, gt=0.3, le=1, description="Side of the input as a share of the stored crop.")
    pretrain_epochs: int = Field(8, ge=1, description="Epochs of pretraining, with eight anchors per clip.")
    finetune_epochs: int = Field(3, ge=0, description="Most epochs of fine-tuning; 0 leaves the network as it starts.")
    degrade: float = Field(0.7, ge=0, le=1, description="Share of crops degraded as in poor video while fine-tuning.")
    starts: str = Field(
        "facemesh",
        description="Starting points of fine-tuning, separated by commas: facemesh (mediapipe's landmark network), "
        "tclr, paper, random, or the file or run of an encoder.",
    )
    seeds: int = Field(1, ge=1, description="Runs per starting point, with seeds 0, 1, ...")
    test_share: float = Field(0.2, gt=0, lt=0.5, description="Share of people held out for the final test.")
    select_share: float = Field(
        0.1, gt=0, lt=0.5, description="Share of people used to choose the best run, and to choose thresholds."
    )
    seed: int = Field(0, ge=0, description="Seed of the choice of test people.")


class SightConfig(Settings):
    """The recipe of the bundled judge of visibility. The default sizes take one processor core a quarter of an hour."""

    crop_size: int = Field(160, ge=64, description="Side of the stored crops in pixels.")
    fps: float = Field(8.0, ge=0, description="Frames per second to learn from; neighbours are alike.")
    faces_per_clip: int = Field(6, ge=1, description="Faces of each clip in front of which things are drawn.")
    samples: int = Field(20000, ge=256, description="Pictures to learn from.")
    epochs: int = Field(10, ge=1, description="Passes over them.")
    test_every: int = Field(5, ge=2, description="Hold out every n-th person for the test.")
    seed: int = Field(0, ge=0, description="Seed of pictures and weights.")


class EmbedConfig(Settings):
    """Export of embeddings and AU predictions."""

    batch_size: int = Field(128, ge=1, description="Frames read at once, and frames per step of the encoder on a GPU.")
    blendshapes: bool = Field(False, description="Add the 52 blendshape columns bs_<name>.")
    landmarks: bool = Field(False, description="Add the landmarks, lm_x_000 to lm_y_477, in pixels of the source.")
    embedding: Literal["wide", "list", "none"] = Field(
        "wide", description="One column per dimension (emb_000), one column of lists (emb), or no embedding."
    )
    columns: str = Field(
        "",
        description="Columns to write: names or patterns separated by commas, such as frame,AU*; empty for all.",
    )
    smooth_s: float | None = Field(
        None,
        ge=0,
        description="Standard deviation in seconds of the Gaussian that smooths AU predictions over time; by default "
        "the head's.",
        json_schema_extra={"flag": "smooth"},
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32",
        description="Arithmetic of the encoder; bf16 differs a little and is faster for ResNets on processors that "
        "support it, slower for the bundled encoder; auto measures both first.",
    )
    centre: Literal["none", "clip", "subject"] = Field(
        "none",
        description="Give each clip or person their own zero: shift predictions so that the frames with the least "
        "action agree with those of the people that the head was fitted on.",
    )
    hidden: Literal["null", "keep"] = Field(
        "null", description="Leave AUs, gaze and openness of hidden regions empty, or keep what the models guess."
    )
    seed: int = Field(0, ge=0, description="Seed of the random encoder, as given to fit-au.")


class EvaluateConfig(Settings):
    """Evaluation of AU predictions; ``fit_au`` has the settings of the heads."""

    average: Literal["folds", "pooled"] = Field(
        "folds",
        description="Scores in the tables: mean over folds, as in papers, or all folds' frames together.",
    )
    intervals: bool = Field(False, description="Print the 95% interval of every score.")
    resamples: int = Field(1000, ge=0, description="Resamples of the test subjects for the 95% intervals; 0 for none.")
    test_folds: int = Field(3, ge=2, description="Folds of protocol emotionet; other protocols define their own.")
    label_shares: str = Field(
        "",
        description="Percentages of training subjects for a label-efficiency curve, such as 1,5,10,25,100; empty for "
        "none.",
    )
    label_seeds: int = Field(3, ge=1, description="Random draws of those subjects, for the spread of the curve.")

    @field_validator("label_shares")
    @classmethod
    def _are_percentages(cls, text: str) -> str:
        try:
            if all(0 < float(part) <= 100 for part in (text.split(",") if text else [])):
                return text
        except ValueError:
            pass
        raise ValueError("expected percentages above 0 and up to 100, separated by commas, such as 1,5,10,25,100")

    @property
    def shares(self) -> list[float]:
        """The percentages in ascending order, without duplicates.

        >>> EvaluateConfig(label_shares="50,10,100").shares
        [10.0, 50.0, 100.0]
        """
        return sorted({float(part) for part in self.label_shares.split(",") if part})


class OverlayConfig(Settings):
    """Appearance of a video with faces and AUs drawn on it."""

    height: int = Field(720, ge=0, le=4320, description="Height in pixels; 0 keeps the video's.")
    landmarks: bool = Field(True, description="Draw the landmarks of --store.")
    audio: bool = Field(True, description="Keep the video's sound.")
    crf: int = Field(20, ge=0, le=51, description="Quality of H.264: 0 is lossless, 51 gives the smallest file.")


def parse_settings(kind: type[S], values: dict[str, Any], where: str) -> S:
    """Build a settings object from names and values; ``where`` names their source in errors.

    Raises
    ------
    SettingError
        For an unknown setting or a value out of range.

    Examples
    --------
    >>> parse_settings(AlignConfig, {"sise": 96}, "tclr.toml")
    Traceback (most recent call last):
    tclr.schemas.errors.SettingError: Unknown setting 'sise' in tclr.toml. Known settings: codec, frames, ...
    """
    unknown = sorted(set(values) - set(kind.model_fields))
    if unknown:
        known = ", ".join(sorted(kind.model_fields))
        raise SettingError(
            f"Unknown setting {unknown[0]!r} in {where}. Known settings: {known}."
            f"{suggestion(unknown[0], kind.model_fields)}"
        )
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        names = get_args(kind.model_fields[name].annotation) if first["type"] == "literal_error" else ()
        raise SettingError(
            f"Setting {name!r} in {where}: {first['msg'].removeprefix('Value error, ')}, but got {first['input']!r}."
            f"{suggestion(str(first['input']), names)}"
        ) from error


@dataclass(frozen=True)
class PreprocessConfig:
    """Settings of a run of preprocessing; only ``detect`` and ``align`` affect what is stored."""

    detect: DetectConfig = field(default_factory=DetectConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    allow_truncated: bool = False
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    stills: bool = False
    subject_texture: np.ndarray | None = field(default=None, compare=False, repr=False)
    """Of the face in ``detect.subject_face``, see ``tracking.describe_texture``; it travels to workers, not to disk."""
