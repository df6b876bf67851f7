"""Head files: one ``.safetensors`` file with weights, thresholds, AU names and the encoder's digest.

Format 2. Tensors: ``weight``, ``bias``, ``threshold``, and where there are any ``rest_logit`` and ``rest_intensity``
(see ``RestingLevel``), ``intensity_weight`` and ``intensity_bias`` (see ``Readout``), ``hidden_mean``, ``hidden_std``,
``hidden_weight`` and ``hidden_bias`` (see ``Hidden``). The metadata's ``info`` is JSON. A fine-tuned head holds its
encoder as well, so that the file can be given as an encoder: tensors ``encoder.<name>``, of 16 bits where that is
exact, and its ``EncoderInfo`` as JSON under ``encoder_info``. Format 1 had linear heads without intensity.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tclr.pipeline.centring import RestingLevel
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.heads import AuHead, AuScore
from tclr.pipeline.readout import Readout
from tclr.pipeline.tensor_file import check_format, read_tensors, write_tensors
from tclr.pipeline.weights import ENCODER_INSIDE, INSIDE_PREFIX, info_to_json
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import ModelError

FORMAT = "tclr-au-head"
FORMAT_VERSION = 2


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
        "kind": head.kind,
        "au_names": head.au_names,
        "smooth_s": head.smooth_s,
        "inputs": head.inputs,
        "encoder_digest": head.encoder_digest,
        "encoder_info": head.encoder_info,
        "started_from": head.started_from,
        "scores": [asdict(score) for score in head.scores],
        "left_out": head.left_out,
        "settings": head.settings,
        **data,
        "tclr_version": version("tclr-face"),
    }
    header = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "info": json.dumps(info)}
    tensors = {name: torch.from_numpy(array) for name, array in head.arrays().items()}
    if head.encoder is not None:
        state = head.encoder.model.state_dict()
        tensors |= {INSIDE_PREFIX + name: _as_small_as_exact(value.cpu()) for name, value in state.items()}
        header[ENCODER_INSIDE] = info_to_json(head.encoder.info)
    write_tensors(path, tensors, header)


def _as_small_as_exact(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor of 16 bits if that loses nothing, as after ``round_to_half``."""
    half = value.half()
    return half if value.dtype == torch.float32 and torch.equal(half.float(), value) else value


def load_head(path: Path) -> AuHead:
    """Load a head file.

    Raises
    ------
    ModelError
        If it is missing, damaged, of another format, or its tensors do not fit together.
    """
    tensors, header = read_tensors(path, "an AU head")
    check_format(header, FORMAT, FORMAT_VERSION, path, "Give a head that 'tclr fit-au' wrote.")
    arrays = {name: value.numpy() for name, value in tensors.items() if not name.startswith(INSIDE_PREFIX)}
    try:
        info = json.loads(header["info"])
        threshold = arrays.pop("threshold")
        rest = [arrays.pop(name) for name in ("rest_logit", "rest_intensity") if name in arrays]
        head = AuHead(
            kind=info.get("kind", "linear"),
            au_names=tuple(info["au_names"]),
            readout=Readout.from_arrays(arrays),
            threshold=threshold,
            smooth_s=float(info.get("smooth_s", 0.0)),
            rest=RestingLevel(*rest) if rest else None,
            inputs=info.get("inputs", "embedding"),
            encoder_digest=info["encoder_digest"],
            encoder_info=info["encoder_info"],
            settings=info["settings"],
            scores=tuple(AuScore(**score) for score in info["scores"]),
            left_out=info.get("left_out", {}),
            encoder=load_encoder(path) if ENCODER_INSIDE in header else None,
            started_from=info.get("started_from", ""),
            where=str(path),
        )
        n_inputs = {
            "embedding": head.encoder_info.get("embedding_dim", head.readout.n_inputs),
            "blendshapes": len(BLENDSHAPE_NAMES),
            "both": head.encoder_info.get("embedding_dim", 0) + len(BLENDSHAPE_NAMES),
        }
        wanted = ((len(head.au_names),), n_inputs[head.inputs])
        lengths = {len(threshold), len(head.readout.bias), *(len(level) for level in rest)}
        if (threshold.shape, head.readout.n_inputs) != wanted or len(lengths) > 1:
            raise ValueError(f"weights of {head.readout.weight.shape} for {len(head.au_names)} AUs")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"Expected weights and header of an AU head, but got {error!r} for {path}. Run 'tclr fit-au' again."
        ) from error
    return head
