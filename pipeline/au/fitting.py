"""Fitting AU heads: weights from labelled frames, with thresholds, and scores on people they have not seen.

No subject is on both sides: thresholds and scores come from subject-exclusive folds of the given frames, and nothing
else. The threshold of an AU maximises F1 on the out-of-fold predictions of all folds; the reported F1 of a fold uses a
threshold chosen on the other folds only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tclr.pipeline.au.head import AuHead, AuScore, save_head, smooth_clips
from tclr.pipeline.au.inputs.rows import WITHOUT_ENCODER, describe_by, no_rows
from tclr.pipeline.au.labelled import LabelledFrames, collect_frames, embed_crops
from tclr.pipeline.au.learning.blend import fit_blend
from tclr.pipeline.au.learning.finetune import fine_tune
from tclr.pipeline.au.learning.frozen import fit_linear, fit_mlp
from tclr.pipeline.au.learning.thresholds import DEFAULT_THRESHOLD, choose_threshold, cross_threshold, quiet_threshold
from tclr.pipeline.au.metrics import Outcomes, score
from tclr.pipeline.au.own_labels import LabelMatch, OwnLabels
from tclr.pipeline.au.postprocess import common_level
from tclr.pipeline.au.readout import Prediction, Readout
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.store import Store, assign_folds, hold_out, leave_out, match_subjects
from tclr.pipeline.system import some_of
from tclr.schemas.action_units import ABSENT, PRESENT, UNKNOWN
from tclr.schemas.config import FitAuConfig
from tclr.schemas.errors import InputError, SettingError

if TYPE_CHECKING:
    import pandas as pd

NEUTRAL_BELOW = 0.5
"""Intensity, 0..5, that no AU of a neutral frame reaches: half of the least that coders note."""
NO_SCALE = "not predictable among the people who set the scale"
"""Why a blend has no AU that others show: it never or always occurs among these, or against the evidence, if any."""
NEUTRAL_ROWS = 128
"""Rows of a store of people at rest that are read at once."""


def _fit_frozen(frames: LabelledFrames, config: FitAuConfig, network: AuHead | None = None) -> Readout:
    if config.head == "blend":
        return fit_blend(frames, config, network=network)
    return {"linear": fit_linear, "mlp": fit_mlp}[config.head](frames, config)


def _taught_by(frames: LabelledFrames, config: FitAuConfig, encoder: LoadedEncoder | None) -> np.ndarray:
    """Return (N,) bool: the people whom a blend learns from where others set its scale and thresholds, else none.

    The others are those that ``scale_on`` names, or whom the encoder has not learnt from.

    Raises
    ------
    InputError
        If the encoder has learnt from all people, or from some of those who set the scale.
    SettingError
        If ``scale_on`` matches nobody or everybody.
    """
    if config.head != "blend":
        return np.zeros(len(frames), bool)
    seen = frames.seen_by(encoder) if encoder is not None else np.zeros(len(frames), bool)
    if not config.scale_on:
        if seen.all():
            raise InputError(
                f"Expected people whom the encoder has not learnt from, to choose thresholds on, but {frames.store} "
                "has none. Give another encoder, or --inputs shape. Rename the folders of people who only share their "
                "names."
            )
        return seen
    subjects = sorted(set(frames.subjects.tolist()))
    where = f"the labelled people of {frames.store}"
    others = np.isin(frames.subjects, match_subjects(subjects, config.scale_on, where, "scale_on"))
    if others.all():
        raise SettingError(f"Expected people to learn from, but {config.scale_on!r} fits all {where}. Name fewer.")
    if (others & seen).any():
        known = sorted(set(frames.subjects[others & seen].tolist()))
        new = sorted(set(frames.subjects[~seen].tolist()))
        raise InputError(
            f"Expected people whom the encoder has not learnt from for --scale-on, but it has learnt from {len(known)} "
            f"of them, such as {known[0]}; it has not from {some_of(new) or 'anybody'}. Name "
            "such people, or take --inputs shape. Rename the folders of people who only share their names."
        )
    return ~others


def cross_predict(
    frames: LabelledFrames,
    folds: np.ndarray,
    config: FitAuConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    network: AuHead | None = None,
) -> Prediction:
    """Return out-of-fold predictions of a head on fixed inputs, not smoothed; ``folds`` (N,) has each frame's fold.

    They are NaN where an AU cannot be learnt on the other folds. ``progress`` is called with folds done and in total.
    ``network`` is for a blend, see ``fit_blend``.
    """
    out = Prediction.unknown(*frames.labels.shape)
    numbers = np.unique(folds)
    for done, fold in enumerate(numbers):
        inside = folds == fold
        if not inside.all():
            predicted = _fit_frozen(frames.take(~inside), config, network).predict(frames.inputs[inside])
            out.probability[inside], out.intensity[inside] = predicted.probability, predicted.intensity
        progress(done + 1, len(numbers))
    return out


def _noticed(frames: LabelledFrames, level: float) -> np.ndarray:
    """Return (N, A) int8, by which thresholds are chosen: presence from an intensity on, 0 keeps to the labels."""
    by_level = np.isfinite(frames.intensities) & (level > 0)
    return np.where(by_level, frames.intensities >= level, frames.labels).astype(np.int8)


def score_aus(
    frames: LabelledFrames, prediction: Prediction, folds: np.ndarray, noticed_from: float = 0.0
) -> tuple[AuScore, ...]:
    """Score out-of-fold predictions, NaN where there are none; decisions use thresholds of the other folds.

    Scores are by the labels. ``noticed_from`` is the setting of ``FitAuConfig``.
    """
    thresholds = [DEFAULT_THRESHOLD] * len(frames.names)
    decision = np.full(frames.labels.shape, UNKNOWN, np.int8)
    probability = prediction.probability
    for column, label in enumerate(_noticed(frames, noticed_from).T):
        predicted = (label != UNKNOWN) & np.isfinite(probability[:, column])
        y, p = label[predicted], probability[predicted, column]
        if len(np.unique(y)) == 2:
            thresholds[column] = choose_threshold(p, y)
            if len(np.unique(folds[predicted])) > 1:
                decision[predicted, column] = cross_threshold(p, y, folds[predicted])
    one = np.zeros(len(frames), np.int64)
    outcomes = Outcomes(frames.labels, decision, probability, frames.intensities, prediction.intensity, one, one)
    scores = {name: scored["pooled"].aus for name, scored in score(outcomes, resamples=0).items()}
    n_known, n_present = ((frames.labels == code).sum(axis=0) for code in (ABSENT, PRESENT))
    n_known += n_present
    rates = n_present / np.maximum(n_known, 1)
    return tuple(
        AuScore(
            name,
            int(n_known[column]),
            float(rate),
            thresholds[column],
            f1=scores["f1"][column].measured,
            f1_all_positive=2 * float(rate) / (1 + float(rate)),
            roc_auc=scores["roc_auc"][column].measured,
            icc=scores["icc_3_1"][column].measured,
            mae=scores["mae"][column].measured,
        )
        for column, (name, rate) in enumerate(zip(frames.names, rates, strict=True))
    )


def _quieten(
    scores: tuple[AuScore, ...], frames: LabelledFrames, prediction: Prediction, share: float
) -> tuple[AuScore, ...]:
    """Raise thresholds until at most a share of the neutral frames counts as present."""
    known = np.isfinite(frames.intensities)
    neutral = known.any(axis=1) & (np.where(known, frames.intensities, 0) < NEUTRAL_BELOW).all(axis=1)
    lowest = [quiet_threshold(column, neutral & np.isfinite(column), share) for column in prediction.probability.T]
    return tuple(replace(score, threshold=max(score.threshold, low)) for score, low in zip(scores, lowest, strict=True))


def find_learnable(frames: LabelledFrames) -> tuple[list[str], dict[str, str]]:
    """Return the AUs that are both present and absent in the labels; and the others, with the reason.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     frames = collect_frames(store, blendshape_rows, 64)
    >>> learnable, left_out = find_learnable(frames)
    >>> learnable[:2], left_out["AU04"]
    (['AU01', 'AU02'], 'never present')
    """
    left_out = {
        name: "never absent" if (column == PRESENT).any() else "never present"
        for name, column, both in zip(frames.names, frames.labels.T, frames.occurrence_known, strict=True)
        if not both
    }
    return [name for name in frames.names if name not in left_out], left_out


def cross_score(
    frames: LabelledFrames,
    config: FitAuConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[AuScore, ...]:
    """Score a head on fixed inputs, for each AU that can be learnt, on subjects it has not seen.

    Examples
    --------
    >>> from tclr.schemas.config import FitAuConfig
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     frames = collect_frames(store, blendshape_rows, 64)
    >>> [score.name for score in cross_score(frames, FitAuConfig(folds=2))][:2]
    ['AU01', 'AU02']
    """
    frames = frames.select(find_learnable(frames)[0])
    return score_aus(frames, *_predict_out_of_fold(frames, config, progress), config.noticed_from)


def transfer_score(learnt: LabelledFrames, judged: LabelledFrames, config: FitAuConfig) -> tuple[AuScore, ...]:
    """Score a head on fixed inputs that learns from some people on others, for each AU that varies on both sides.

    There are no decisions, so only figures that need none are known: ROC AUC, ICC and MAE.

    Examples
    --------
    >>> from tclr.schemas.config import FitAuConfig
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     frames = collect_frames(store, blendshape_rows, 64)
    >>> one, other = (frames.take(frames.subjects == name) for name in ("F001", "F003"))
    >>> [score.name for score in transfer_score(one, other, FitAuConfig())][:2]
    ['AU01', 'AU02']
    """
    names = [name for name in find_learnable(learnt)[0] if name in find_learnable(judged)[0]]
    if not names:
        return ()
    learnt, judged = learnt.select(names), judged.select(names)
    predicted = _fit_frozen(learnt, config).predict(judged.inputs)
    return score_aus(judged, predicted, np.zeros(len(judged), np.int64), config.noticed_from)


def _predict_out_of_fold(
    frames: LabelledFrames,
    config: FitAuConfig,
    progress: Callable[[int, int], None],
    network: AuHead | None = None,
) -> tuple[Prediction, np.ndarray]:
    """Return smoothed predictions, each by a head that has not seen the subject, and the fold of each frame."""
    folds = assign_folds(frames.subjects, config.folds, config.seed)
    predicted = cross_predict(frames, folds, config, progress, network)
    return smooth_clips(predicted, frames, config.smooth_s), folds


def _learn_frozen(
    frames: LabelledFrames,
    config: FitAuConfig,
    encoder: LoadedEncoder | None,
    network: AuHead | None,
    progress: Callable[[int, int], None],
) -> tuple[Readout, LabelledFrames, Prediction, np.ndarray]:
    """Return a head on fixed inputs, and frames that it is judged on, with predictions of such heads and with folds."""
    teachers = _taught_by(frames, config, encoder)
    if not teachers.any():
        fitted = _fit_frozen(frames, config, network)
        return fitted, frames, *_predict_out_of_fold(frames, config, progress, network)
    judged, readout = frames.take(~teachers), fit_blend(frames, config, teachers, network)
    predicted = smooth_clips(readout.predict(judged.inputs), judged, config.smooth_s)
    return readout, judged, predicted, assign_folds(judged.subjects, config.folds, config.seed)


def fit_head(
    frames: LabelledFrames,
    config: FitAuConfig,
    encoder: LoadedEncoder | None = None,
    network: AuHead | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AuHead:
    """Fit a head; everything in it, thresholds included, comes from the given frames only.

    Heads on fixed inputs learn from all subjects; thresholds are chosen on out-of-fold predictions. Fine-tuning is too
    slow for that: one fold of the subjects is held out to stop early and to choose thresholds. A blend with
    ``scale_on`` learns from the other subjects; one whose encoder has learnt from some of the subjects learns from
    these. The rest sets its scale and thresholds.

    Parameters
    ----------
    frames : LabelledFrames
        Frames of the subjects to learn from.
    encoder : LoadedEncoder, optional
        The encoder of the frames' inputs, if they are embeddings. A fine-tuned head starts from it and reads crops.
    network : AuHead, optional
        A fine-tuned head of that encoder. A blend takes what it says for one more kind of evidence.

    Raises
    ------
    InputError, SettingError
        If no AU is both present and absent in the labels, or a head is to be fine-tuned without an encoder.

    Examples
    --------
    >>> from tclr.schemas.config import FitAuConfig
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     frames = collect_frames(store, blendshape_rows, 64)
    >>> fit_head(frames, FitAuConfig(inputs="blendshapes")).predict(frames.inputs).shape
    (32, 6)
    """
    own = None
    held = np.zeros(len(frames), bool)
    if config.head == "finetune":
        if encoder is None:
            raise SettingError("Expected an encoder to fine-tune, but got none. Give --encoder, or another head.")
        held = hold_out(frames.subjects, config.folds, config.seed)
    names, left_out = find_learnable(frames.take(~held))
    if not names:
        raise InputError(f"No AU of {frames.store} is both present and absent in its labels: nothing can be learnt.")
    frames = frames.select(names)
    if encoder is not None and config.head == "finetune":
        judged = frames.take(held)
        readout, own = fine_tune(frames.take(~held), judged if held.any() else None, encoder, config, progress)
        predicted = smooth_clips(readout.predict(embed_crops(own, judged)), judged, config.smooth_s)
        folds = assign_folds(judged.subjects, config.folds, config.seed)
    else:
        if network is not None and encoder is not None:
            network.check_encoder(encoder)
        readout, judged, predicted, folds = _learn_frozen(frames, config, encoder, network, progress)
        has_scale = np.isfinite(readout.bias)
        left_out |= {name: NO_SCALE for name, known in zip(names, has_scale, strict=True) if not known}
        names = [name for name in names if name not in left_out]
        if not names:
            raise InputError(f"No AU of {frames.store} can be learnt: all are {NO_SCALE}. Label more people.")
        readout, judged = readout.take(has_scale), judged.select(names)
        predicted = predicted.map(lambda values: values[:, has_scale])
    scores = score_aus(judged, predicted, folds, config.noticed_from)
    scores = _quieten(scores, judged, predicted, config.neutral_share)
    belongs_to = own or encoder
    return AuHead(
        kind=config.head,
        au_names=tuple(names),
        readout=readout,
        threshold=np.array([score.threshold for score in scores], np.float32),
        smooth_s=config.smooth_s,
        rest=common_level(predicted, judged.subjects) if len(judged) else None,
        inputs=config.inputs,
        encoder_digest=belongs_to.digest if belongs_to else "",
        encoder_info=belongs_to.info.brief() if belongs_to else {},
        settings=config.model_dump(mode="json"),
        scores=scores,
        left_out=left_out,
        encoder=own,
        started_from=encoder.digest if own and encoder else "",
    )


def quieten_on(head: AuHead, encoder: LoadedEncoder | None, neutral: Path, share: float) -> AuHead:
    """Return a head whose thresholds call an AU present on at most a share of the faces of a store of people at rest.

    ``encoder`` is the head's, if it reads embeddings. Thresholds only rise. Predictions are not smoothed.

    Raises
    ------
    InputError
        If the store has no face.
    """
    describe = describe_by(head.inputs, head.encoder or encoder)
    parts = []
    with Store(neutral) as store:
        for info in store.clips:
            for start in range(0, info.n_frames, NEUTRAL_ROWS):
                stop = min(start + NEUTRAL_ROWS, info.n_frames)
                face = store.face_mask(info, start, stop)
                parts += [head.predict(describe(store, info, start, stop)[face])] if face.any() else []
    if not parts:
        raise InputError(f"Expected faces at rest in {neutral}, but it has no face. Give a store of neutral faces.")
    quiet = [quiet_threshold(column, np.isfinite(column), share) for column in np.concatenate(parts).T]
    threshold = np.maximum(head.threshold, np.array(quiet, np.float32))
    scores = (replace(s, threshold=float(t)) for s, t in zip(head.scores, threshold, strict=True))
    return replace(head, threshold=threshold, scores=tuple(scores))


@dataclass(frozen=True)
class FitResult:
    """The head's file, its scores, and the AUs that could not be learnt, with the reason.

    ``n_held_out`` is the number of subjects that fine-tuning held out; None for other heads. ``n_scaled_on`` is the
    number of those who only set a blend's scale and thresholds; None if all subjects do. ``labels`` says what became of
    the rows of the user's own labels; None if only the store's were read.
    """

    path: Path
    scores: list[AuScore]
    left_out: dict[str, str]
    n_subjects: int
    n_folds: int
    n_held_out: int | None
    n_scaled_on: int | None = None
    labels: LabelMatch | None = None


def fit_au(
    store_path: Path,
    encoder: LoadedEncoder | None,
    out: Path,
    config: FitAuConfig,
    *,
    network: AuHead | None = None,
    labels: Path | pd.DataFrame | None = None,
    neutral: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    fit_progress: Callable[[int, int], None] = lambda done, total: None,
) -> FitResult:
    """Fit an AU head on the labelled frames of a store and write it.

    Parameters
    ----------
    store_path, out : Path
        Store, which is only read; the ``.safetensors`` file to write.
    encoder : LoadedEncoder or None
        The encoder, frozen unless the head is ``finetune``; None for a head that needs none.
    config : FitAuConfig
        Settings.
    network : AuHead, optional
        As for ``fit_head``; ``own_head`` finds it in the encoder's file.
    labels : Path or DataFrame, optional
        Table with the columns subject, clip, frame (or timestamp) and AUs, or a folder of such tables, see
        ``docs/labels.md``. They come before the store's labels.
    neutral : Path, optional
        Store of faces at rest, labelled or not: on at most ``neutral_share`` of these, too, an AU counts as present.
    progress : callable
        Called with frames read and frames in total.
    fit_progress : callable
        Called with steps of the fit done and steps in total.

    Raises
    ------
    InputError
        If there are no labels, none of them fits a frame of the store, or no AU is both present and absent in them.
    SettingError
        If ``leave_out`` matches nobody or everybody, or the encoder is missing.
    StoreError
        If the head needs blendshapes and a clip has none.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> from tclr.schemas.config import FitAuConfig
    >>> fit_au(Path("store"), None, Path("au.safetensors"), FitAuConfig(inputs="blendshapes")).n_subjects
    2
    """
    with Store(store_path) as store:
        subjects = leave_out(store.subjects, config.leave_out, store_path)
        match_subjects(subjects, config.scale_on, store_path, "scale_on")  # a slip is told before the store is read
        own = OwnLabels(store, labels) if labels is not None else None
    with Store(store_path, subjects) as store:
        if config.inputs != "embedding":
            store.require_blendshapes("Give --inputs embedding.")
        describe = no_rows if config.head == "finetune" else describe_by(config.inputs, encoder)
        frames = collect_frames(store, describe, config.batch_size, progress, own)
        root = store.clips[0].root
    if config.inputs in WITHOUT_ENCODER:
        encoder = network = None
    head = fit_head(frames, config, encoder, network, progress=fit_progress)
    people = frames.people() | set(encoder.info.subjects if encoder else ())
    if neutral is not None:
        head = quieten_on(head, encoder, neutral, config.neutral_share)
        with Store(neutral) as at_rest:
            people |= {f"{info.dataset}/{info.subject}" for info in at_rest.clips}
    save_head(out, head, {"align_hash": root.align_hash, "dataset": root.dataset, "subjects": sorted(people)})
    n_subjects = len(np.unique(frames.subjects))
    n_held_out = None
    if config.head == "finetune":
        n_held_out = len(np.unique(frames.subjects[hold_out(frames.subjects, config.folds, config.seed)]))
    teachers = _taught_by(frames, config, encoder)
    n_scaled_on = len(np.unique(frames.subjects[~teachers])) if teachers.any() else None
    counts = n_subjects, min(config.folds, n_scaled_on or n_subjects), n_held_out, n_scaled_on
    return FitResult(out, list(head.scores), head.left_out, *counts, own.match if own else None)
