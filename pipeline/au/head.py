"""Head files: one ``.safetensors`` file with weights, thresholds, AU names and the encoder's digest.

Format 2. Tensors: ``weight``, ``bias``, ``threshold``; where they exist, ``rest_logit`` and ``rest_intensity`` (see
``RestingLevel``), ``intensity_weight`` and ``intensity_bias`` (see ``Readout``), ``hidden_mean``, ``hidden_std``,
``hidden_weight`` and ``hidden_bias`` (see ``Hidden``). The metadata's ``info`` is JSON. The file of a fine-tuned head
also holds its encoder, and can be given as one: tensors ``encoder.<name>``, in 16 bits where that is exact, and its
``EncoderInfo`` as JSON under ``encoder_info``. Format 1 had linear heads without intensity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.au.inputs.rows import blendshape_rows, describe_at, shape_sides
from tclr.pipeline.au.inputs.shape import SHAPE_DIM
from tclr.pipeline.au.labelled import LabelledFrames, embed_crops
from tclr.pipeline.au.postprocess import RestingLevel, smooth
from tclr.pipeline.au.readout import Prediction, Readout
from tclr.pipeline.au.sides import divide
from tclr.pipeline.encoder import ENCODER_INSIDE, INSIDE_PREFIX, LoadedEncoder, encoder_inside, info_to_json
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import check_format, read_tensors, write_tensors
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import ModelError, StoreError

FORMAT = "tclr-au-head"
FORMAT_VERSION = 2


def save_head(path: Path, head: AuHead, data: dict[str, Any]) -> None:
    """Write a head to a ``.safetensors`` file in one step, with facts on its store.

    Such are ``dataset`` and ``subjects``, all people (``dataset/subject``) whom it or its encoder has learnt from.

    Raises
    ------
    OutputError
        If it cannot be written.

    Examples
    --------
    >>> save_head(Path("copy.safetensors"), load_head(Path("head.safetensors")), {"dataset": "bp4d", "subjects": []})
    """
    info = {
        "kind": head.kind,
        "au_names": head.au_names,
        "smooth_s": head.smooth_s,
        "inputs": head.inputs,
        "encoder_digest": head.encoder_digest,
        "encoder_info": head.encoder_info,
        "started_from": head.started_from,
        "rest_share": head.rest.share if head.rest else None,
        "scores": [asdict(score) for score in head.scores],
        "left_out": head.left_out,
        "settings": head.settings,
        **data,
        "tclr_version": version("tclr-face"),
    }
    header = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "info": json.dumps(info)}
    tensors = head.arrays()
    if head.encoder is not None:
        inside = head.encoder.weights()
        tensors |= {INSIDE_PREFIX + name: _as_small_as_exact(value) for name, value in inside.items()}
        header[ENCODER_INSIDE] = info_to_json(head.encoder.info)
    write_tensors(path, tensors, header)


def _as_small_as_exact(value: np.ndarray) -> np.ndarray:
    """Return an array in 16 bits if that loses nothing, as after ``round_to_half``."""
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    return half if value.dtype == np.float32 and np.array_equal(half, value) else value


def load_head(path: Path) -> AuHead:
    """Load a head file.

    Raises
    ------
    ModelError
        If it is missing, damaged, of another format, or its tensors do not fit together.

    Examples
    --------
    >>> load_head(Path("head.safetensors")).au_names
    ('AU01', 'AU02', 'AU06', 'AU12', 'AU25', 'AU45')
    """
    return _parse_head(*read_tensors(path, "an AU head"), path)


def _parse_head(tensors: Mapping[str, np.ndarray], header: Mapping[str, str], path: Path) -> AuHead:
    """Return the head in the content of a file; raises as ``load_head`` does."""
    check_format(header, FORMAT, FORMAT_VERSION, path, "Give a head that 'tclr fit-au' wrote.")
    arrays = {name: value for name, value in tensors.items() if not name.startswith(INSIDE_PREFIX)}
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
            rest=_resting_level(rest, float(info.get("rest_share") or 1.0)),
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
        _check_sizes(head, rest)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"Expected weights and header of an AU head, but got {error!r} for {path}. Run 'tclr fit-au' again."
        ) from error
    return head


def own_head(encoder: str | Path) -> AuHead | None:
    """Return the fine-tuned head in an encoder's file; None if there is none, or ``encoder`` is no file.

    Examples
    --------
    >>> own_head("encoder.safetensors") is None, own_head("random") is None
    (True, True)
    """
    path = Path(encoder)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    tensors, header = read_tensors(path, "an encoder")
    if header.get("format") != FORMAT:
        return None
    head = _parse_head(tensors, header, path)
    return head if head.encoder is not None and head.readout.hidden is None else None


def _resting_level(arrays: Sequence[np.ndarray], share: float) -> RestingLevel | None:
    """Return the resting level of a file, None if it has none."""
    if not arrays:
        return None
    logit, intensity = arrays
    return RestingLevel(logit, intensity, share)


def _check_sizes(head: AuHead, rest: Sequence[np.ndarray]) -> None:
    """Check that weights, thresholds and levels are of the head's AUs and of what it reads."""
    dim, n_aus = head.encoder_info.get("embedding_dim"), len(head.au_names)
    n_shapes = len(BLENDSHAPE_NAMES)
    n_inputs = {
        "embedding": head.readout.n_inputs if dim is None else dim,
        "blendshapes": n_shapes,
        "both": (dim or 0) + n_shapes,
        "shape": SHAPE_DIM,
        "face": SHAPE_DIM + (dim or 0),
    }[head.inputs]
    lengths = {len(head.threshold), len(head.readout.bias), *map(len, rest)}
    if lengths != {n_aus} or head.threshold.ndim != 1 or head.readout.n_inputs != n_inputs:
        raise ValueError(f"weights of {head.readout.weight.shape} for {n_aus} AUs")


@dataclass(frozen=True)
class AuScore:
    """How good one AU's classifier is on subjects it has not seen; ``None`` where that cannot be measured.

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
    """A fitted head for A AUs.

    ``kind`` is ``linear``, ``mlp``, ``blend`` or ``finetune``; ``au_names`` are as ``AU01``; ``readout`` has the
    weights. An AU is
    present where ``probability >= threshold``, (A,) float32. Predictions of a clip are smoothed over ``smooth_s``
    seconds (see ``smooth``); thresholds were chosen on smoothed ones. ``rest`` is the resting level of people whom it
    had not seen (see ``centre``). ``inputs`` is what it reads, see ``describe_by``.

    ``encoder_digest`` identifies the encoder of the embeddings, "" for other inputs; ``encoder_info`` and ``settings``
    describe that encoder and the fit. ``scores`` has one per AU; ``left_out`` has AUs that could not be learnt, with
    the reason. A fine-tuned head has its own ``encoder``, which ``started_from`` the one of that digest. ``where`` is
    its name in messages.
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

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return (n, A) float32 probabilities from (n, D) inputs, not smoothed."""
        return self.readout.predict(inputs).probability

    def predict_intensity(self, inputs: np.ndarray) -> np.ndarray:
        """Return (n, A) float32 intensities, 0..5, from (n, D) inputs, not smoothed; NaN for AUs without any."""
        return self.readout.predict(inputs).intensity

    def predict_frames(self, frames: LabelledFrames) -> Prediction:
        """Return the predictions for labelled frames, smoothed in each clip.

        A fine-tuned head embeds their crops with its own encoder; others read their inputs.
        """
        inputs = frames.inputs if self.encoder is None else embed_crops(self.encoder, frames)
        return smooth_clips(self.readout.predict(inputs), frames, self.smooth_s)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, thresholds and resting level."""
        return hashlib.sha256(b"".join(array.tobytes() for _, array in sorted(self.arrays().items()))).hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return weights, thresholds and the resting level under their names in the file."""
        rest = {} if self.rest is None else self.rest.arrays()
        return {**self.readout.arrays(), "threshold": self.threshold, **rest}

    @property
    def has_sides(self) -> bool:
        """Whether it tells the left side of a face from the right."""
        return self.inputs in ("shape", "face")

    def predict_rows(self, store: Store, info: ClipInfo, rows: np.ndarray, embeddings: np.ndarray) -> Prediction:
        """Return predictions for some rising rows of a clip, all with a face; (n, E) embeddings are given.

        Raises
        ------
        StoreError
            If the head needs blendshapes and there are none.
        """
        if self.inputs == "embedding":
            return self.readout.predict(embeddings)
        if not store.names(info, "blendshapes"):
            raise StoreError(
                f"Expected blendshapes for {self.where}, but a clip has none: only landmarker and mediapipe give them. "
                "Give a head that reads embeddings, or preprocess with --detector landmarker."
            )
        if self.has_sides:
            return self._predict_both_sides(describe_at(shape_sides, store, info, rows), embeddings)
        read = describe_at(blendshape_rows, store, info, rows)
        return self.readout.predict(np.concatenate([embeddings, read], axis=1) if self.inputs == "both" else read)

    def _predict_both_sides(self, sides: np.ndarray, embeddings: np.ndarray) -> Prediction:
        """Return predictions from the shape of both sides, (n, 2, D), and (n, E) embeddings."""
        besides = [embeddings] if self.inputs == "face" else []
        whole, left, right = (
            self.readout.predict(np.concatenate([shape, *besides], axis=1))
            for shape in (sides.mean(axis=1), sides[:, 0], sides[:, 1])
        )
        return replace(whole, sides=divide(whole.intensity, left.intensity - right.intensity))

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

    def by_clip(values: np.ndarray) -> np.ndarray:
        out = values.copy()
        for _, places in frames.by_clip():
            out[places] = smooth(values[places], frames.timestamps[places], smooth_s)
        return out

    return prediction.map(by_clip)
