"""Encoder files: tclr's own, the paper's released checkpoint, and ImageNet weights in torchvision's names.

tclr's own is one ``.safetensors`` file. Its metadata are ``format``, ``format_version`` and ``info``, an
``EncoderInfo`` as JSON. Tensors are named ``<arch>.<torchvision's name>`` and ``fc1.weight``, ``fc1.bias``. Format 1.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tclr.pipeline.encoder.backbones import BACKBONES
from tclr.pipeline.encoder.info import EncoderInfo, info_to_json, parse_info
from tclr.pipeline.encoder.network import TemporalEncoder
from tclr.pipeline.system import check_format, read_tensors, write_tensors
from tclr.schemas.errors import ModelError

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
_CLASSIFIER_NAMES = ("fc.", "classifier.")


def save_encoder(path: Path, model: TemporalEncoder, info: EncoderInfo) -> None:
    """Write the weights and the info to one ``.safetensors`` file.

    Raises
    ------
    ModelError
        If the architectures of info and model differ.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> info = EncoderInfo(embedding_dim=8, arch="mobilenet_v2")
    >>> save_encoder(Path("new.safetensors"), build_encoder(8, seed=0, arch="mobilenet_v2"), info)
    >>> load_encoder("new.safetensors").info == info
    True
    """
    if info.arch != model.arch:
        raise ModelError(
            f"Expected the info of a {model.arch} encoder, but got {info.arch!r} for {path}. Give the model's arch."
        )
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "info": info_to_json(info)}
    write_tensors(path, model.state_dict(), metadata)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], EncoderInfo | None]:
    weights, metadata = read_tensors(path, "an encoder file")
    if "format" not in metadata:
        return weights, None
    if ENCODER_INSIDE in metadata:
        return take_inside(weights, metadata, str(path))
    check_format(metadata, FORMAT, FORMAT_VERSION, path, "Give an encoder, as 'tclr pretrain' writes it.")
    return weights, parse_info(metadata.get("info", ""), str(path))


def take_inside(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], where: str
) -> tuple[dict[str, Tensor], EncoderInfo]:
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


def _read_pickle(path: Path) -> tuple[dict[str, Tensor], EncoderInfo | None]:
    """Read the tensors of a torch checkpoint; code in the file is never run."""
    check_unpacked(path)
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
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(
            f"Expected a dictionary of tensors, but got {type(content).__name__} in {path}. "
            "Give the state dictionary of an encoder."
        )
    return content, info


def _parameter_sizes(tensors: dict[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    """Return names and sizes, without classifiers and without the counters that old files do not have."""
    return {
        (name, tuple(value.shape))
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked") and not name.startswith(_CLASSIFIER_NAMES)
    }


def _guess_arch(weights: dict[str, Tensor]) -> str | None:
    """Return the architecture that shares the most names and sizes with the tensors of a torchvision file, or None."""
    given = _parameter_sizes(weights)
    alike = {}
    for arch, backbone in BACKBONES.items():
        with torch.random.fork_rng(devices=[]):
            own = _parameter_sizes(backbone.build().state_dict())
        alike[arch] = len(given & own) / len(given | own)
    best = max(alike, key=alike.__getitem__)
    return best if alike[best] > ALIKE else None


def find_arch(weights: dict[str, Tensor]) -> str | None:
    """Return the architecture of tensors under tclr's names, or None."""
    return next((arch for arch in BACKBONES if any(name.startswith(f"{arch}.") for name in weights)), None)


def _rename(weights: dict[str, Tensor]) -> dict[str, Tensor]:
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


def read_weights(source: str | Path) -> tuple[dict[str, Tensor], EncoderInfo | None]:
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


def has_embedding_layer(weights: Mapping[str, Tensor]) -> bool:
    """Return whether there is a layer ``fc1``; ImageNet's weights have none."""
    return any(name.startswith("fc1.") for name in weights)


def require_arch(weights: dict[str, Tensor], where: str) -> str:
    """Return the architecture of tensors under tclr's names.

    Raises
    ------
    ModelError
        If it is unknown.
    """
    arch = find_arch(weights)
    if arch is None:
        raise ModelError(
            f"Expected weights of one of {', '.join(sorted(BACKBONES))}, but those in {where} fit none of them. "
            "Give an encoder, or ImageNet weights in torchvision's names."
        )
    return arch


def _check_arch(model: TemporalEncoder, weights: dict[str, Tensor], where: str) -> None:
    arch = require_arch(weights, where)
    if arch != model.arch:
        raise ModelError(
            f"Expected weights of {model.arch}, but {where} seems to hold {arch}. "
            f"Give a file of {model.arch}, or pretrain with --arch {arch}."
        )
    classifier = tuple(f"{arch}.{name}" for name in _CLASSIFIER_NAMES)
    backbone = {name for name in weights if name.startswith(f"{arch}.") and not name.startswith(classifier)}
    foreign = sorted(backbone - model.state_dict().keys())
    if foreign:
        raise ModelError(
            f"Expected only the tensors of {arch}, but got {foreign[0]!r} in {where}. It is of another architecture: "
            "give one that 'tclr pretrain --help' lists under --arch."
        )


def fit_weights(model: TemporalEncoder, weights: dict[str, Tensor], where: str) -> None:
    """Load tensors into a model; ``fc1`` is unchanged if they have none, like ImageNet weights.

    Raises
    ------
    ModelError
        If they are of another architecture, or a tensor is missing or of another size.

    Examples
    --------
    >>> weights = build_encoder(8, seed=1, arch="mobilenet_v2").state_dict()
    >>> fit_weights(build_encoder(8, seed=0, arch="mobilenet_v2"), weights, "my weights")
    """
    _check_arch(model, weights, where)
    own = model.state_dict()
    imagenet = not has_embedding_layer(weights)
    for name, value in own.items():
        given = weights.get(name)
        if given is None:
            if name.endswith("num_batches_tracked") or (imagenet and name.startswith("fc1.")):
                continue
            raise ModelError(
                f"Expected tensor {name!r}, but {where} has none. Check that it is a {model.arch} encoder."
            )
        if given.layout != torch.strided or given.is_complex():
            raise ModelError(
                f"Expected a dense tensor of real numbers for {name!r}, but got {given.type()} in {where}."
            )
        if given.shape != value.shape:
            raise ModelError(
                f"Expected {name!r} of size {tuple(value.shape)}, but got {tuple(given.shape)} in {where}. "
                "Give a checkpoint of this architecture and --embedding-dim."
            )
    model.load_state_dict({name: weights.get(name, value) for name, value in own.items()})


def load_weights(model: TemporalEncoder, source: str | Path) -> EncoderInfo | None:
    """Load a file into a model: tclr's, the paper's, or torchvision's ImageNet weights (without ``fc1``).

    Returns the file's info if tclr wrote it.

    Raises
    ------
    ModelError
        If the file cannot be read, is of another architecture, or a tensor is missing or of another size.

    Examples
    --------
    >>> load_weights(build_encoder(32, seed=0, arch="mobilenet_v2"), "encoder.safetensors").subjects
    ('bp4d/F001',)
    """
    weights, info = read_weights(source)
    fit_weights(model, weights, str(source))
    return info
