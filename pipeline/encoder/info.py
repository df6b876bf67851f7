"""Description of an encoder: architecture, input, embedding and origin, stored as JSON in its file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import ModelError

ARCHITECTURES: tuple[str, ...] = get_args(PretrainConfig.model_fields["arch"].annotation)
"""Names of the architectures, see ``BACKBONES``."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_EMBEDDING_DIM = 2**16
"""Far beyond any use, but too small to fill the memory."""
LEAST_STD = 1e-6
"""Pixels are between 0 and 1."""


@dataclass(frozen=True)
class EncoderInfo:
    """Input, embedding and origin of an encoder.

    Crops are resized to ``image_size / crop_ratio`` pixels, and their central ``image_size`` pixels are the input.
    Pixels are scaled to 0..1, then ``mean`` is subtracted and the result divided by ``std``. ``arch`` is a name of
    ``BACKBONES``. The other fields describe the training: ``detect_hash``, ``align_hash``, ``data_hash`` and
    ``crop_size`` (side in pixels) are those of the store; ``n_subjects`` and ``subjects`` (``dataset/subject``) are the
    subjects trained on; ``supervised`` is true if AU labels were used. Unknown values are 0, "" or ().
    """

    embedding_dim: int = 256
    image_size: int = 224
    crop_ratio: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    arch: str = "resnet18"
    recipe: str = "random"
    epochs: int = 0
    seed: int = 0
    detect_hash: str = ""
    align_hash: str = ""
    data_hash: str = ""
    crop_size: int = 0
    n_subjects: int = 0
    subjects: tuple[str, ...] = ()
    supervised: bool = False
    tclr_version: str = ""

    def brief(self) -> dict[str, Any]:
        """Return the fields for other files: without the subjects' names, of which there may be thousands."""
        return {name: value for name, value in asdict(self).items() if name != "subjects"}


def resized_side(sizes: EncoderInfo | PretrainConfig) -> int:
    """Return the side in pixels that crops are resized to before a part of ``image_size`` is cut out."""
    return round(sizes.image_size / sizes.crop_ratio)


def info_to_json(info: EncoderInfo) -> str:
    """Return the info as the JSON text that encoder files contain.

    >>> info_to_json(EncoderInfo(embedding_dim=8))
    '{"embedding_dim": 8, "image_size": 224, "crop_ratio": 0.875, ...}'
    """
    return json.dumps(asdict(info))


def _check_info(info: EncoderInfo) -> None:
    """Raise for a wrong type or an absurd value: networks are built, and pictures resized, by these values."""
    for field in fields(EncoderInfo):
        value, default = getattr(info, field.name), field.default
        kind = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
            raise TypeError(f"{type(value).__name__} as {field.name!r}")
    numbers = [*info.mean, *info.std]
    if len(info.mean) != 3 or len(info.std) != 3 or not all(type(value) in (int, float) for value in numbers):
        raise ValueError("mean or std that are not three numbers")
    if not all(map(math.isfinite, numbers)) or any(abs(value) < LEAST_STD for value in info.std):
        raise ValueError("mean or std that no picture can be normalised by")
    sizes = 0 < info.embedding_dim <= MAX_EMBEDDING_DIM and 0 < info.image_size <= 4096
    if not (sizes and 0.1 <= info.crop_ratio <= 1):
        raise ValueError("embedding_dim, image_size or crop_ratio out of range")


def parse_info(text: str, where: str) -> EncoderInfo:
    """Read the JSON of ``info_to_json``; fields that a newer tclr added are ignored.

    Raises
    ------
    ModelError
        If the text is not such JSON, or names an unknown architecture.
    """
    known = {field.name for field in fields(EncoderInfo)}
    try:
        values = {name: value for name, value in json.loads(text).items() if name in known}
        lists = {name: tuple(values[name]) for name in ("mean", "std")}
        info = EncoderInfo(**{**values, **lists, "subjects": tuple(values.get("subjects", ()))})
        _check_info(info)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelError(
            f"Cannot read the info of an encoder in {where}: {error!r}. The file is damaged: write it again with "
            "'tclr pretrain'."
        ) from error
    if info.arch not in ARCHITECTURES:
        raise ModelError(
            f"Expected one of the architectures {', '.join(sorted(ARCHITECTURES))}, but got {info.arch!r} in {where}. "
            "Upgrade tclr to read it."
        )
    return info
