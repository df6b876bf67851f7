"""Encoder files: tclr's own, the paper's released checkpoint, and ImageNet weights in torchvision's names.

tclr's own is one ``.safetensors`` file. Its metadata are ``format``, ``format_version`` and ``info``, an
``EncoderInfo`` as JSON. Tensors are named ``<arch>.<torchvision's name>`` and ``fc1.weight``, ``fc1.bias``. Format 1.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tclr.pipeline.encoder.info import ARCHITECTURES, EncoderInfo, parse_info
from tclr.pipeline.system import check_format, read_tensors, to_array
from tclr.schemas.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

Weights = dict[str, np.ndarray]
"""Tensors of a network by name."""
FORMAT = "tclr-encoder"
FORMAT_VERSION = 1
ENCODER_INSIDE, INSIDE_PREFIX = "encoder_info", "encoder."
"""Key of the info and prefix of the tensors of an encoder within a file of another format."""
ALIKE = 0.5
"""Least share of common tensors (of the union) for a file to be recognised as an architecture.

A file without a few tensors is still near 1. ResNet-34 against ResNet-18 is 0.56; ``fit_weights`` then rejects its
additional blocks.
"""
_OLD_DENSENET_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
CLASSIFIER_NAMES = ("fc.", "classifier.")


def _read_safetensors(path: Path) -> tuple[Weights, EncoderInfo | None]:
    weights, metadata = read_tensors(path, "an encoder file")
    if "format" not in metadata:
        return weights, None
    if ENCODER_INSIDE in metadata:
        return take_inside(weights, metadata, str(path))
    check_format(metadata, FORMAT, FORMAT_VERSION, path, "Give an encoder, as 'tclr pretrain' writes it.")
    return weights, parse_info(metadata.get("info", ""), str(path))


def take_inside(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], where: str
) -> tuple[Weights, EncoderInfo]:
    """Return tensors and info of the encoder in a file of another format, see ``ENCODER_INSIDE``."""
    inside = [name for name in tensors if name.startswith(INSIDE_PREFIX)]
    weights = {name.removeprefix(INSIDE_PREFIX): tensors[name] for name in inside}
    return weights, parse_info(metadata[ENCODER_INSIDE], where)


def check_unpacked(path: Path) -> None:
    """Raise if a checkpoint has compressed entries: torch never compresses, and a few kB could become gigabytes.

    Raises
    ------
    ModelError
        If an entry is compressed, or the archive cannot be read.

    Examples
    --------
    >>> import zipfile
    >>> with zipfile.ZipFile("packed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
    ...     archive.writestr("data.pkl", b"0" * 100)
    >>> check_unpacked(Path("packed.pt"))
    Traceback (most recent call last):
    tclr.schemas.errors.ModelError: Expected a checkpoint as torch.save writes it, but 'data.pkl' in packed.pt is ...
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"Cannot read the torch checkpoint {path}: {error}.") from error
    if packed:
        raise ModelError(
            f"Expected a checkpoint as torch.save writes it, but {packed[0]!r} in {path} is compressed. "
            "If you trust it, load it with torch.load and save it again with torch.save."
        )


def _read_pickle(path: Path) -> tuple[Weights, EncoderInfo | None]:
    """Read the tensors of a torch checkpoint; code in the file is never run."""
    check_unpacked(path)
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails in many ways on a damaged or foreign file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"Cannot read the checkpoint {path} as weights only: {reason} Give a state dictionary as torch.save "
            "writes it."
        ) from error
    ours = isinstance(content, dict) and "encoder_info" in content
    info = parse_info(content["encoder_info"], str(path)) if ours else None
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError(
            f"Expected a dictionary of tensors, but got {type(content).__name__} in {path}. "
            "Give the state dictionary of an encoder."
        )
    return {name: _to_array(name, value, path) for name, value in content.items()}, info


def _to_array(name: str, value: Tensor, path: Path) -> np.ndarray:
    import torch

    if value.layout != torch.strided or value.is_complex() or value.is_quantized:
        raise ModelError(f"Expected a dense tensor of real numbers for {name!r}, but got {value.type()} in {path}.")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise ModelError(
            f"Expected numbers for {name!r} of size {tuple(value.shape)}, but got few that repeat, in {path}. The file "
            "is damaged: give another."
        )
    return to_array(value)


def _parameter_sizes(tensors: Mapping[str, Tensor | np.ndarray]) -> set[tuple[str, tuple[int, ...]]]:
    """Return names and sizes, without classifiers and without the counters that old files do not have."""
    return {
        (name, tuple(value.shape))
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked") and not name.startswith(CLASSIFIER_NAMES)
    }


def _guess_arch(weights: Weights) -> str | None:
    """Return the architecture that shares the most names and sizes with the tensors of a torchvision file, or None."""
    import torch

    from tclr.pipeline.encoder.backbones import BACKBONES

    given = _parameter_sizes(weights)
    alike = {}
    for arch, backbone in BACKBONES.items():
        with torch.random.fork_rng(devices=[]):
            own = _parameter_sizes(dict(backbone.build().state_dict()))
        alike[arch] = len(given & own) / len(given | own)
    best = max(alike, key=alike.__getitem__)
    return best if alike[best] > ALIKE else None


def find_arch(weights: Mapping[str, np.ndarray]) -> str | None:
    """Return the architecture of tensors under tclr's names, or None."""
    return next((arch for arch in ARCHITECTURES if any(name.startswith(f"{arch}.") for name in weights)), None)


def _rename(weights: Weights) -> Weights:
    """Return tensors under tclr's names: without ``module.``, and with the architecture's name if it is recognised."""
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    weights = {_OLD_DENSENET_NAME.sub(r"\1\2.", name): value for name, value in weights.items()}
    if find_arch(weights) is not None:
        return weights
    backbone = {name: value for name, value in weights.items() if not name.startswith("fc1.")}
    arch = _guess_arch(backbone)
    if arch is None:
        return weights
    return {f"{arch}.{name}" if name in backbone else name: value for name, value in weights.items()}


def read_weights(source: str | Path) -> tuple[Weights, EncoderInfo | None]:
    """Read the tensors of a file, under tclr's names and on the CPU, and its info if tclr wrote it.

    ``source`` is a ``.safetensors`` file, a run folder (its encoder.safetensors), or a torch checkpoint.

    Raises
    ------
    ModelError
        If the file is missing or cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "encoder.safetensors"
        if not path.is_file():
            raise ModelError(
                f"Expected a finished run with encoder.safetensors, but found none in {source}. "
                "Let 'tclr pretrain' finish."
            )
    if not path.is_file():
        raise ModelError(f"Expected an encoder file, but found nothing at {path}. Check the path.")
    weights, info = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return _rename(weights), info


def has_embedding_layer(weights: Mapping[str, np.ndarray]) -> bool:
    """Return whether there is a layer ``fc1``; ImageNet's weights have none."""
    return any(name.startswith("fc1.") for name in weights)


def require_arch(weights: Mapping[str, np.ndarray], where: str) -> str:
    """Return the architecture of tensors under tclr's names.

    Raises
    ------
    ModelError
        If it is unknown.
    """
    arch = find_arch(weights)
    if arch is None:
        raise ModelError(
            f"Expected weights of one of {', '.join(sorted(ARCHITECTURES))}, but those in {where} fit none of them. "
            "Give an encoder, or ImageNet weights in torchvision's names."
        )
    return arch
