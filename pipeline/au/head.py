"""Head files: one ``.safetensors`` file with weights, thresholds, AU names and the encoder's digest.

Format 2. Tensors: ``weight``, ``bias``, ``threshold``, and where there are any ``rest_logit`` and ``rest_intensity``
(see ``RestingLevel``), ``intensity_weight`` and ``intensity_bias`` (see ``Readout``), ``hidden_mean``, ``hidden_std``,
``hidden_weight`` and ``hidden_bias`` (see ``Hidden``). The metadata's ``info`` is JSON. A fine-tuned head holds its
encoder as well, so that the file can be given as an encoder: tensors ``encoder.<name>``, of 16 bits where that is
exact, and its ``EncoderInfo`` as JSON under ``encoder_info``. Format 1 had linear heads without intensity.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tclr.pipeline.au.labelled import LabelledFrames, embed_crops
from tclr.pipeline.au.postprocess import RestingLevel, smooth
from tclr.pipeline.au.readout import Prediction, Readout
from tclr.pipeline.encoder import ENCODER_INSIDE, INSIDE_PREFIX, LoadedEncoder, encoder_inside, info_to_json
from tclr.pipeline.system import check_format, read_tensors, write_tensors
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import ModelError, StoreError

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
            encoder=encoder_inside(tensors, header, str(path)),
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


@dataclass(frozen=True)
class AuScore:
    """What one AU's classifier reaches on subjects it has not seen; ``None`` where that cannot be measured.

    ``f1`` uses thresholds chosen on other folds; ``f1_all_positive`` is what calling every frame present gives.
    ``icc`` is ICC(3,1) and ``mae`` the mean absolute error of the intensity.
    """

    name: str
    n_frames: int
    base_rate: float
    threshold: float
    f1: float | None
    f1_all_positive: float
    roc_auc: float | None
    icc: float | None = None
    mae: float | None = None


@dataclass(frozen=True)
class AuHead:
    """A fitted head.

    Parameters
    ----------
    kind : str
        ``linear``, ``mlp`` or ``finetune``.
    au_names : tuple of str
        The A AUs, as ``AU01``.
    readout : Readout
        Its weights.
    threshold : ndarray
        (A,) float32: present is ``probability >= threshold``.
    smooth_s : float
        How the predictions of a clip are smoothed, seconds, see ``smooth``; thresholds were chosen on smoothed ones.
    rest : RestingLevel, optional
        The resting level of people it had not seen, see ``centre``.
    inputs : str
        What it reads: ``embedding``, ``blendshapes``, or ``both``, embedding first.
    encoder_digest : str
        Whose embeddings it reads; "" for other features.
    encoder_info, settings : dict
        What the encoder's file says of itself, and the settings of the fit.
    scores : tuple of AuScore
        One an AU.
    left_out : dict
        AUs that could not be learnt, with the reason.
    encoder : LoadedEncoder, optional
        Of a fine-tuned head: its own encoder.
    started_from : str
        Of a fine-tuned head: the digest of the encoder that its own was made from.
    where : str
        What messages call it.
    """

    kind: str
    au_names: tuple[str, ...]
    readout: Readout
    threshold: np.ndarray
    smooth_s: float = 0.0
    rest: RestingLevel | None = None
    inputs: str = "embedding"
    encoder_digest: str = ""
    encoder_info: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    scores: tuple[AuScore, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    encoder: LoadedEncoder | None = None
    started_from: str = ""
    where: str = "the head"

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (n, A) float32 probabilities of (n, D) embeddings, not smoothed."""
        return self.readout.predict(embeddings).probability

    def predict_intensity(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (n, A) float32 intensities, 0..5, of (n, D) embeddings, not smoothed; NaN for AUs without."""
        return self.readout.predict(embeddings).intensity

    def predict_frames(self, frames: LabelledFrames) -> Prediction:
        """Return the predictions for labelled frames, smoothed in each clip if the head smooths.

        A fine-tuned head embeds their crops with its own encoder; others read their embeddings.
        """
        embeddings = frames.inputs if self.encoder is None else embed_crops(self.encoder, frames)
        return smooth_clips(self.readout.predict(embeddings), frames, self.smooth_s)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, thresholds and resting level."""
        return hashlib.sha256(b"".join(array.tobytes() for _, array in sorted(self.arrays().items()))).hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return weights, thresholds and the resting level by name, as the file has them."""
        rest = {} if self.rest is None else self.rest.arrays()
        return {**self.readout.arrays(), "threshold": self.threshold, **rest}

    def choose_inputs(self, embeddings: np.ndarray, blendshapes: np.ndarray | None) -> np.ndarray:
        """Return what the head reads, (n, D), of (n, E) embeddings and (n, 52) blendshapes.

        Raises
        ------
        StoreError
            If it reads blendshapes and there are none.
        """
        if self.inputs == "embedding":
            return embeddings
        if blendshapes is None:
            raise StoreError(
                f"Expected blendshapes for {self.where}, but a clip has none: only the mediapipe detector gives them. "
                "Give a head that reads embeddings, or preprocess with --detector mediapipe."
            )
        return blendshapes if self.inputs == "blendshapes" else np.concatenate([embeddings, blendshapes], axis=1)

    def check_encoder(self, encoder: LoadedEncoder) -> None:
        """Refuse an encoder that the head was not fitted on.

        Raises
        ------
        ModelError
            If the digests differ.
        """
        if self.encoder_digest != encoder.digest:
            raise ModelError(
                f"Expected the encoder that {self.where} was fitted on ({self.encoder_digest[:12]}), but got another "
                f"one ({encoder.digest[:12]}). Give that encoder, or run 'tclr fit-au' with this one."
            )


def smooth_clips(prediction: Prediction, frames: LabelledFrames, smooth_s: float) -> Prediction:
    """Smooth predictions over the time of each clip; see ``smooth``."""
    if smooth_s == 0:
        return prediction
    probability, intensity = prediction.probability.copy(), prediction.intensity.copy()
    for _, places in frames.by_clip():
        for values in (probability, intensity):
            values[places] = smooth(values[places], frames.timestamps[places], smooth_s)
    return Prediction(probability, intensity)
