"""Multi-label AU head on a frozen encoder: one logistic regression an AU, and the scores it may claim.

Subjects never stand on both sides: thresholds and scores come from subject-exclusive folds. The threshold of an
AU maximises F1 on the out-of-fold predictions of all folds; the reported F1 of a fold uses a threshold chosen on
the other folds only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_recall_curve, roc_auc_score

from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.files import replacing
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.action_units import PRESENT, UNKNOWN
from tclr.schemas.config import FitAuConfig
from tclr.schemas.errors import InputError, ModelError

FORMAT = "tclr-au-head"
FORMAT_VERSION = 1
DEFAULT_THRESHOLD = 0.5
"""Used where there are no out-of-fold predictions to choose one on."""


@dataclass(frozen=True)
class AuScore:
    """What one AU's classifier reaches on subjects it has not seen; ``None`` where that cannot be measured.

    ``f1`` uses thresholds chosen on other folds; ``f1_all_positive`` is what calling every frame present gives.
    """

    name: str
    n_frames: int
    base_rate: float
    threshold: float
    f1: float | None
    f1_all_positive: float
    roc_auc: float | None


@dataclass(frozen=True)
class FitResult:
    """The head's file, its scores, and the AUs that could not be learnt, with the reason."""

    path: Path
    scores: list[AuScore]
    left_out: dict[str, str]
    n_subjects: int
    n_folds: int


@dataclass(frozen=True)
class LabelledFrames:
    """Embeddings and labels of frames with a face.

    ``embeddings`` (N, D) float32, ``labels`` (N, A) int8 with -1 unknown, ``subjects`` (N,) str.
    """

    names: list[str]
    embeddings: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray

    def mask(self, name: str) -> np.ndarray:
        """Return (N,) bool: where an AU's label is known."""
        return self.labels[:, self.names.index(name)] != UNKNOWN

    def known(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, D) embeddings and (n,) labels of an AU where it is known."""
        mask = self.mask(name)
        return self.embeddings[mask], self.labels[mask, self.names.index(name)]


Describe = Callable[[Store, ClipInfo, int, int], np.ndarray]
"""Gives (n, D) float32 of rows start to stop of a clip."""


def embed_rows(encoder: LoadedEncoder) -> Describe:
    """Return the function that embeds rows of a clip."""
    return lambda store, info, start, stop: encoder.embed(store.read_frames(info, start, stop))


def collect_frames(
    store: Store, describe: Describe, batch_size: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> LabelledFrames:
    """Describe every frame that has a face and at least one known label, block by block.

    Parameters
    ----------
    store : Store
        Store with labels.
    describe : callable
        Gives the features of a block of rows, such as ``embed_rows``.
    batch_size : int
        Rows a block.
    progress : callable
        Called with frames done and frames in all.

    Raises
    ------
    InputError
        If the store has no labels.
    """
    infos = [info for info in store.clips if store.names(info, "au")]
    names = sorted({name for info in infos for name in store.names(info, "au")})
    if not names:
        raise InputError(
            f"Expected a store with AU labels, but {store.root} has none. Run 'tclr embed' without --au-model: "
            "AUs then come from blendshapes."
        )
    embeddings, labels, subjects = [], [], []
    done, total = 0, sum(info.n_frames for info in infos)
    for info in infos:
        columns = [names.index(name) for name in store.names(info, "au")]
        for start in range(0, info.n_frames, batch_size):
            stop = min(start + batch_size, info.n_frames)
            block = np.full((stop - start, len(names)), UNKNOWN, np.int8)
            block[:, columns] = store.read(info, "au", start, stop)
            used = store.face_mask(info, start, stop) & (block != UNKNOWN).any(axis=1)
            if used.any():
                embeddings.append(describe(store, info, start, stop)[used])
                labels.append(block[used])
                subjects += [info.subject] * int(used.sum())
            done += stop - start
            progress(done, total)
    if not labels:
        raise InputError(f"Expected labelled frames with a face in {store.root}, but found none.")
    return LabelledFrames(names, np.concatenate(embeddings), np.concatenate(labels), np.array(subjects))


def assign_folds(subjects: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each frame; all frames of a subject share one.

    Parameters
    ----------
    subjects : ndarray
        (N,) str.
    n_folds : int
        At most as many folds are made as there are subjects.
    seed : int
        Seed of the split.

    Returns
    -------
    ndarray
        (N,) int64.
    """
    names, index = np.unique(subjects, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = np.empty(len(names), np.int64)
    fold_of[order] = np.arange(len(names)) % min(n_folds, len(names))
    return fold_of[index]


def _fit(x: np.ndarray, y: np.ndarray, l2: float) -> tuple[np.ndarray, float]:
    """Return weight (D,) and bias of a logistic regression on standardised columns, in terms of the raw ones.

    It minimises ``mean loss + l2 / 2 |w|^2``, so that the penalty does not fade as frames are added.
    """
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-8
    model = LogisticRegression(C=1 / (l2 * len(y)), max_iter=1000).fit((x - mean) / std, y)
    weight = model.coef_[0] / std
    return weight, float(model.intercept_[0] - weight @ mean)


def _probability(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | float) -> np.ndarray:
    return 1 / (1 + np.exp(-(x.astype(np.float64) @ weight.T + bias)))


def choose_threshold(probability: np.ndarray, label: np.ndarray) -> float:
    """Return the threshold of the highest F1 (present is ``probability >= threshold``); 0.5 without a positive."""
    if not (label == PRESENT).any():
        return DEFAULT_THRESHOLD
    precision, recall, thresholds = precision_recall_curve(label, probability)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[int(np.argmax(f1[:-1]))])


def cross_fit(x: np.ndarray, y: np.ndarray, folds: np.ndarray, l2: float) -> np.ndarray:
    """Return out-of-fold probabilities, NaN where the other folds lack one of the classes.

    Parameters
    ----------
    x : ndarray
        (n, D) embeddings.
    y : ndarray
        (n,) 0 or 1.
    folds : ndarray
        (n,) fold of each frame.
    l2 : float
        Strength of the penalty.

    Returns
    -------
    ndarray
        (n,) float64.
    """
    out = np.full(len(y), np.nan)
    for fold in np.unique(folds):
        inside = folds == fold
        if len(np.unique(y[~inside])) == 2:
            weight, bias = _fit(x[~inside], y[~inside], l2)
            out[inside] = _probability(x[inside], weight, bias)
    return out


def cross_threshold(probability: np.ndarray, y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return (n,) 0/1 decisions, each with the threshold chosen on the other folds only."""
    decision = np.zeros(len(y), np.int8)
    for fold in np.unique(folds):
        inside = folds == fold
        decision[inside] = probability[inside] >= choose_threshold(probability[~inside], y[~inside])
    return decision


def _score(name: str, y: np.ndarray, probability: np.ndarray, folds: np.ndarray) -> AuScore:
    base_rate = float(y.mean())
    known = np.isfinite(probability)
    measured = known.any() and len(np.unique(folds[known])) > 1 and len(np.unique(y[known])) == 2
    f1 = roc_auc = None
    threshold = DEFAULT_THRESHOLD
    if measured:
        threshold = choose_threshold(probability[known], y[known])
        decision = cross_threshold(probability[known], y[known], folds[known])
        f1 = float(f1_score(y[known], decision, zero_division=0))
        roc_auc = float(roc_auc_score(y[known], probability[known]))
    return AuScore(name, len(y), base_rate, threshold, f1, 2 * base_rate / (1 + base_rate), roc_auc)


def cross_score(frames: LabelledFrames, config: FitAuConfig) -> tuple[list[AuScore], dict[str, str]]:
    """Score a linear probe of each AU on subjects it has not seen.

    Returns
    -------
    (list of AuScore, dict)
        Scores by AU; AUs left out, with the reason.
    """
    all_folds = assign_folds(frames.subjects, config.folds, config.seed)
    scores, left_out = [], {}
    for name in frames.names:
        x, y = frames.known(name)
        if len(np.unique(y)) < 2:
            left_out[name] = "never present" if not y.any() else "never absent"
            continue
        folds = all_folds[frames.mask(name)]
        scores.append(_score(name, y, cross_fit(x, y, folds, config.l2), folds))
    return scores, left_out


def fit_au(
    store_path: Path,
    encoder: LoadedEncoder,
    out: Path,
    config: FitAuConfig,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FitResult:
    """Fit an AU head on the labelled frames of a store and write it.

    Parameters
    ----------
    store_path, out : Path
        Store with labels; the ``.safetensors`` file to write.
    encoder : LoadedEncoder
        The frozen encoder.
    config : FitAuConfig
        Settings.
    progress : callable
        Called with frames embedded and frames in all.

    Raises
    ------
    InputError
        If there are no labels, or no AU has both present and absent frames.
    """
    with Store(store_path) as store:
        frames = collect_frames(store, embed_rows(encoder), config.batch_size, progress)
        root = store.clips[0].root
    scores, left_out = cross_score(frames, config)
    if not scores:
        raise InputError(f"No AU of {store_path} is both present and absent in its labels: nothing can be learnt.")
    weights, biases = [], []
    for score in scores:
        weight, bias = _fit(*frames.known(score.name), config.l2)
        weights.append(weight)
        biases.append(bias)
    metadata = {
        "au_names": [score.name for score in scores],
        "encoder_digest": encoder.digest,
        "encoder_info": asdict(encoder.info),
        "scores": [asdict(score) for score in scores],
        "settings": config.model_dump(mode="json"),
        "align_hash": root["align_hash"],
        "dataset": root["dataset"],
        "tclr_version": version("tclr-face"),
    }
    tensors = {
        "weight": np.stack(weights).astype(np.float32),
        "bias": np.array(biases, np.float32),
        "threshold": np.array([score.threshold for score in scores], np.float32),
    }
    write_head(out, tensors, metadata)
    n_subjects = len(np.unique(frames.subjects))
    return FitResult(out, scores, left_out, n_subjects, min(config.folds, n_subjects))


def write_head(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a head file in one step."""
    header = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "info": json.dumps(metadata)}
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, header))


@dataclass(frozen=True)
class AuHead:
    """A fitted head: ``weight`` (A, D), ``bias`` (A,), ``threshold`` (A,), all float32."""

    path: Path
    au_names: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray
    encoder_digest: str
    digest: str

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (n, A) float32 probabilities of (n, D) embeddings."""
        return _probability(embeddings, self.weight.astype(np.float64), self.bias).astype(np.float32)

    def check_encoder(self, encoder: LoadedEncoder) -> None:
        """Refuse an encoder that the head was not fitted on.

        Raises
        ------
        ModelError
            If the digests differ.
        """
        if self.encoder_digest != encoder.digest:
            raise ModelError(
                f"Expected the encoder that {self.path} was fitted on ({self.encoder_digest[:12]}), but got another "
                f"one ({encoder.digest[:12]}). Give that encoder, or run 'tclr fit-au' with this one."
            )


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
    digest = hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()
    return AuHead(
        path,
        tuple(info["au_names"]),
        tensors["weight"],
        tensors["bias"],
        tensors["threshold"],
        encoder_digest,
        digest,
    )
