"""What an encoder says of itself: architecture, input, embedding and where it comes from, as JSON in its file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from tclr.pipeline.encoder.backbones import BACKBONES
from tclr.schemas.errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_EMBEDDING_DIM = 2**16
"""Chosen by us: far beyond any use, and no memory is filled by it."""


@dataclass(frozen=True)
class EncoderInfo:
    """What a user of an encoder file must know.

    ``image_size`` is the input side in pixels; crops are resized to ``image_size / crop_ratio`` and their centre is
    taken. ``mean`` and ``std`` are subtracted and divided after scaling to 0..1. ``arch`` is a name of ``BACKBONES``.
    The other fields say how it came about: ``detect_hash``, ``align_hash``, ``data_hash`` and ``crop_size`` (the crop's
    side in pixels) are the store's, ``n_subjects`` counts those trained on and ``subjects`` names them, as
    ``dataset/subject``; ``supervised`` says that AU labels were learnt from. 0, "" and () where nobody said.
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
        """Return the info for files that quote it: without the names of the subjects, which may be thousands."""
        return {name: value for name, value in asdict(self).items() if name != "subjects"}


def info_to_json(info: EncoderInfo) -> str:
    """Return the info as ``parse_info`` reads it."""
    return json.dumps(asdict(info))


def _check_info(info: EncoderInfo) -> None:
    """Refuse values of another type or out of any use: networks are built, and pictures resized, by them."""
    for field in fields(EncoderInfo):
        value, default = getattr(info, field.name), field.default
        kind = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kind):
            raise TypeError(f"{type(value).__name__} as {field.name!r}")
    numbers = [*info.mean, *info.std]
    if len(info.mean) != 3 or len(info.std) != 3 or not all(isinstance(value, int | float) for value in numbers):
        raise ValueError("mean or std that are not three numbers")
    sizes = 0 < info.embedding_dim <= MAX_EMBEDDING_DIM and 0 < info.image_size <= 4096
    if not (sizes and 0.1 <= info.crop_ratio <= 1):
        raise ValueError("embedding_dim, image_size or crop_ratio out of range")


def parse_info(text: str, where: str) -> EncoderInfo:
    """Read the info that ``save_encoder`` wrote as JSON; fields that a newer tclr added are left out.

    Raises
    ------
    ModelError
        If it is no such JSON, or names an architecture that we do not have.
    """
    known = {field.name for field in fields(EncoderInfo)}
    try:
        values = {name: value for name, value in json.loads(text).items() if name in known}
        lists = {name: tuple(values[name]) for name in ("mean", "std")}
        info = EncoderInfo(**{**values, **lists, "subjects": tuple(values.get("subjects", ()))})
        _check_info(info)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"Expected the info of an encoder, but cannot read it in {where}: {error!r}. "
            "The file is damaged: write it again with 'tclr pretrain'."
        ) from error
    if info.arch not in BACKBONES:
        raise ModelError(
            f"Expected an architecture of {', '.join(sorted(BACKBONES))}, but got {info.arch!r} in {where}. "
            "Upgrade tclr to read it."
        )
    return info
