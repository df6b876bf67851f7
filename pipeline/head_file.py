"""Head files: one ``.safetensors`` file with weights, thresholds, AU names and the encoder's digest."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tclr.pipeline.files import replacing
from tclr.pipeline.heads import AuHead
from tclr.pipeline.readout import Readout
from tclr.schemas.errors import ModelError

FORMAT = "tclr-au-head"
FORMAT_VERSION = 1


def save_head(path: Path, head: AuHead, data: dict[str, Any]) -> None:
    """Write a head in one step.

    Parameters
    ----------
    path : Path
        The ``.safetensors`` file.
    head : AuHead
        The head.
    data : dict
        What to remember of the store, such as ``dataset`` and ``align_hash``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    info = {
        "au_names": head.au_names,
        "encoder_digest": head.encoder_digest,
        "encoder_info": head.encoder_info,
        "scores": [asdict(score) for score in head.scores],
        "settings": head.settings,
        **data,
        "tclr_version": version("tclr-face"),
    }
    header = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "info": json.dumps(info)}
    with replacing(path) as temporary:
        temporary.write_bytes(save(head.arrays(), header))


def load_head(path: Path) -> AuHead:
    """Load a head file.

    Raises
    ------
    ModelError
        If it is missing, damaged, of another format, or its tensors do not fit together.
    """
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"Expected an AU head (.safetensors), but cannot read {path}: {error}.") from error
    if header.get("format") != FORMAT or int(header.get("format_version", 0)) > FORMAT_VERSION:
        got = f"{header.get('format')!r} {header.get('format_version', '')}".strip()
        raise ModelError(
            f"Expected a file of format {FORMAT!r} {FORMAT_VERSION}, but got {got}: {path}. "
            "Give a head that 'tclr fit-au' wrote."
        )
    try:
        info = json.loads(header["info"])
        n_aus, dim, encoder_digest = (
            len(info["au_names"]),
            info["encoder_info"]["embedding_dim"],
            info["encoder_digest"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"Expected the header of an AU head, but got {error!r} for {path}. Run 'tclr fit-au' again."
        ) from error
    shapes = {name: tensors[name].shape if name in tensors else None for name in ("weight", "bias", "threshold")}
    if shapes != {"weight": (n_aus, dim), "bias": (n_aus,), "threshold": (n_aus,)}:
        raise ModelError(f"Expected tensors for {n_aus} AUs and {dim} dimensions, but got {shapes} in {path}.")
    missing = np.full_like(tensors["weight"], np.nan), np.full_like(tensors["bias"], np.nan)
    readout = Readout(
        tensors["weight"],
        tensors["bias"],
        tensors.get("intensity_weight", missing[0]),
        tensors.get("intensity_bias", missing[1]),
    )
    return AuHead(
        kind="linear",
        au_names=tuple(info["au_names"]),
        readout=readout,
        threshold=tensors["threshold"],
        encoder_digest=encoder_digest,
        encoder_info=info["encoder_info"],
        where=str(path),
    )
