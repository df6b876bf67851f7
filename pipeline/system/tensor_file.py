"""Tensor files of tclr: ``.safetensors`` with ``format``, ``format_version`` and more in the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tclr.pipeline.system.files import replacing
from tclr.schemas.errors import ModelError


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata in one step."""
    plain = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(plain, dict(metadata)))


def read_tensors(path: Path, expected: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the metadata of a ``.safetensors`` file; ``expected`` names it in errors.

    Raises
    ------
    ModelError
        If it is missing or damaged.
    """
    if not path.is_file():  # reading a named pipe would block
        what = "no regular file" if path.exists() else "nothing"
        raise ModelError(f"Expected {expected} (.safetensors), but found {what} at {path}. Check the path.")
    try:
        try:
            return _read(path, "np")
        except (AttributeError, TypeError):  # NumPy does not have every type
            tensors, metadata = _read(path, "pt")
            return {name: to_array(value) for name, value in tensors.items()}, metadata
    except (SafetensorError, OSError) as error:
        raise ModelError(f"Expected {expected} (.safetensors), but cannot read {path}: {error}.") from error


def _read(path: Path, library: str) -> tuple[dict[str, Any], dict[str, str]]:
    with safe_open(path, framework=library) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def to_array(tensor: Any) -> np.ndarray:
    """Return a tensor of PyTorch on the CPU as an array; numbers with a fraction become float32."""
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def check_format(metadata: Mapping[str, str], name: str, newest: int, path: Path, advice: str) -> int:
    """Return the version of a file's format.

    Raises
    ------
    ModelError
        If the file is of another format, or of a newer version than ``newest``; ``advice`` says which file to give.
    """
    if metadata.get("format") != name:
        raise ModelError(f"Expected a file of format {name!r}, but got {metadata.get('format')!r}: {path}. {advice}")
    version = metadata.get("format_version", "")
    if version not in [str(number + 1) for number in range(newest)]:
        raise ModelError(
            f"Expected {name} format {newest} or older, but got {version or None}: {path}. Upgrade tclr to read it."
        )
    return int(version)
