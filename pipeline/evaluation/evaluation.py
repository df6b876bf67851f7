"""Evaluation of AU predictions by a protocol: every method on the same folds, each subject predicted by others' models.

A method sees labels of a fold's training frames only: ``fit_head`` gets nothing else, thresholds included. Scores are
of the out-of-fold predictions of all test frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.au import (
    Describe,
    LabelledFrames,
    MetricScores,
    Outcomes,
    blendshape_rows,
    embed_rows,
    landmark_rows,
    score,
)
from tclr.pipeline.encoder import EncoderInfo, LoadedEncoder, load_backbone, load_encoder, untrained_encoder
from tclr.pipeline.evaluation.folds import FoldedData, FoldFrames
from tclr.pipeline.evaluation.label_curve import CurvePoint, draw_subsets
from tclr.pipeline.evaluation.methods import FoldPrediction, predict_all_positive, predict_fitted, predict_mapping
from tclr.pipeline.evaluation.protocols import qualified
from tclr.pipeline.sources import read_key
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.config import EvaluateConfig, FitAuConfig
from tclr.schemas.errors import InputError, SettingError

METHODS = ("all-positive", "blendshape-mapping", "landmarks", "blendshapes", "random", "imagenet", "encoder")
"""In the order of tables: what needs no learning, features that need no encoder, encoders."""
UNTRAINED = "random"

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class MethodResult:
    """What a method predicted, and how well.

    ``thresholds`` are by fold and AU; ``n_aus`` counts those that it predicts; ``scores`` are those of
    ``metrics.score``; ``curve`` is the label-efficiency curve.
    """

    method: str
    label: str
    outcomes: Outcomes
    scores: dict[str, dict[str, MetricScores]]
    thresholds: dict[str, dict[str, float]]
    n_aus: int
    notes: tuple[str, ...]
    encoder: dict[str, Any]
    curve: tuple[CurvePoint, ...]
    seconds: float


def check_encoder(info: EncoderInfo, name: str, data: FoldedData) -> tuple[str, ...]:
    """Compare the people an encoder has learnt from with those that are tested.

    Parameters
    ----------
    info : EncoderInfo
        What the encoder says of itself.
    name : str
        What messages call it.
    data : FoldedData
        Who is tested.

    Returns
    -------
    tuple of str
        A note if it was pretrained, without labels, on some of them.

    Raises
    ------
    InputError
        If it learnt from labels of some of them.
    """
    stores = {store.path: store for store in data.stores}
    tested = {
        qualified(stores[fold.test.store].facts, subject)
        for fold in data.folds
        for subject in np.unique(fold.test.subjects).tolist()
    }
    seen = tested & set(info.subjects)
    named = bool(info.subjects)  # files written before subjects were named tell only the store
    if not seen and (named or all(store.data_hash != info.data_hash for store in data.stores)):
        return ()
    who = f"{len(seen)} of the {len(tested)} test subjects" if named else "this store, test subjects included"
    if info.supervised:
        raise InputError(
            f"Expected an encoder that knows no label of a test subject, but {name} learnt from labels of {who}. "
            "Give an encoder that was trained on other people, or without labels."
        )
    return (f"the encoder was pretrained, without labels, on frames of {who}",)


class Evaluation:
    """An evaluation that is ready to run: stores, protocol and encoders are read and checked.

    Parameters
    ----------
    stores : sequence of Path
        One store, or two for ``cross:``: where to train, where to test.
    protocol : str
        See ``plan_evaluation``.
    encoder : str
        An encoder as ``load_encoder`` takes it; ``random`` for none but the untrained baseline.
    config, fit : settings
        How to score, and how heads are fitted.
    methods : sequence of str, optional
        Of ``METHODS``; default all that these stores and arguments allow.
    imagenet : Path, optional
        Weights without an embedding layer, for the method of that name.
    key_file : Path, optional
        Key of a store of pseudonyms, for a protocol that lists people by name.

    Raises
    ------
    SettingError
        If a method or the protocol is unknown, or a method that was asked for lacks what it needs.
    InputError
        If a subject would be on both sides, or the encoder learnt from labels of subjects that are tested.
    StoreError, ModelError
        If a store or an encoder cannot be read.
    """

    def __init__(
        self,
        stores: Sequence[Path],
        protocol: str,
        encoder: str,
        config: EvaluateConfig,
        fit: FitAuConfig,
        *,
        methods: Sequence[str] | None = None,
        imagenet: Path | None = None,
        key_file: Path | None = None,
    ) -> None:
        self.config, self.fit, self.encoder_name = config, fit, encoder
        for name in ("leave_out", "inputs"):
            if getattr(fit, name) != FitAuConfig.model_fields[name].default:
                raise SettingError(
                    f"Expected no --{name.replace('_', '-')}, but got {getattr(fit, name)!r}: the protocol says who "
                    "trains, and --methods what heads read. Leave it out."
                )
        pseudonyms = None if key_file is None else read_key(key_file)
        self.data = FoldedData(
            stores, protocol, test_folds=config.test_folds, batch_size=fit.batch_size, pseudonyms=pseudonyms
        )
        self.plan = self.data.plan
        given = load_encoder(encoder, seed=fit.seed)
        untrained = encoder.partition(":")[0] == UNTRAINED
        self._encoders = (
            {"random": given} if untrained else {"random": _untrained(given.info, fit.seed), "encoder": given}
        )
        if imagenet is not None:
            self._encoders["imagenet"] = load_backbone(imagenet, given.info)
        names = {"encoder": encoder, "imagenet": str(imagenet)}
        self._notes = {
            method: check_encoder(self._encoders[method].info, name, self.data)
            for method, name in names.items()
            if method in self._encoders
        }
        self.methods = self._choose(methods)

    def _choose(self, methods: Sequence[str] | None) -> list[str]:
        missing = {name: f"no {name} was given" for name in ("encoder", "imagenet") if name not in self._encoders}
        if not self.data.has_blendshapes:
            missing |= dict.fromkeys(("blendshapes", "blendshape-mapping"), "not all clips have blendshapes")
        if not self.data.has_crops:
            missing |= dict.fromkeys(("random", "encoder", "imagenet"), "not all clips have crops")
        for name in self._notes if methods is None else ():  # an encoder that was given is to be judged
            if name in missing:
                others = ",".join(other for other in METHODS if other not in missing)
                raise SettingError(f"Method {name!r} cannot be done: {missing[name]}. Give --methods {others}.")
        if methods is None:
            return [name for name in METHODS if name not in missing]
        for name in methods:
            if name not in METHODS:
                raise SettingError(f"Unknown method {name!r}. Known methods: {', '.join(METHODS)}.")
            if name in missing:
                raise SettingError(f"Method {name!r} cannot be done: {missing[name]}. Leave it out of --methods.")
        return [name for name in METHODS if name in methods]

    def run(self, tell: Tell = lambda what, done, total: None) -> Iterator[MethodResult]:
        """Do one method after the other.

        Parameters
        ----------
        tell : callable
            Called with what is being done, steps done and steps in all.

        Yields
        ------
        MethodResult
            As soon as it is there, so that a later failure loses nothing.
        """
        for method in self.methods:
            started = time.perf_counter()
            folds = self._described(method, tell)
            predictions = [
                self._predict(method, fold.train, fold, partial(tell, f"{method}, fold {fold.split.name}"))
                for fold in folds
            ]
            outcomes = self._outcomes(predictions)
            scores = score(outcomes, resamples=self.config.resamples, seed=self.fit.seed)
            curve = self._curve(method, folds, scores, tell) if self.learns(method) else ()
            encoder = self._encoders.get(method)
            by_fold = dict(zip((fold.split.name for fold in folds), predictions, strict=True))
            yield MethodResult(
                method,
                self._label(method),
                outcomes,
                scores,
                {name: prediction.thresholds for name, prediction in by_fold.items()},
                int((outcomes.decision != UNKNOWN).any(axis=0).sum()),
                (*self._notes.get(method, ()), *(f"fold {f}: {note}" for f, p in by_fold.items() for note in p.notes)),
                {} if encoder is None else {"digest": encoder.digest, **encoder.info.brief()},
                curve,
                time.perf_counter() - started,
            )

    @staticmethod
    def learns(method: str) -> bool:
        """Return whether a method is fitted on training subjects."""
        return method not in ("all-positive", "blendshape-mapping")

    def _label(self, method: str) -> str:
        """Return the name of a row of the table."""
        fixed = {"all-positive": "all positive", "blendshape-mapping": "blendshape mapping"}
        what = {
            "random": "random encoder",
            "imagenet": "ImageNet",
            "encoder": Path(self.encoder_name).name or "encoder",
        }
        return fixed.get(method) or f"{what.get(method, method)} + {self._fit_config(method).head}"

    def _fit_config(self, method: str) -> FitAuConfig:
        """Return the settings of a method's head: features that are no encoder's get a linear one."""
        return self.fit if method in self._encoders else self.fit.model_copy(update={"head": "linear"})

    def _described(self, method: str, tell: Tell) -> list[FoldFrames]:
        plain: dict[str, Describe] = {
            "landmarks": landmark_rows,
            "blendshapes": blendshape_rows,
            "blendshape-mapping": blendshape_rows,
        }
        if method == "all-positive" or (method in self._encoders and self.fit.head == "finetune"):
            return self.data.folds  # a fine-tuned head reads crops, not embeddings
        describe = plain.get(method) or embed_rows(self._encoders[method])
        return self.data.describe(describe, partial(tell, f"{method}, frames"))

    def _predict(
        self, method: str, train: LabelledFrames, fold: FoldFrames, progress: Callable[[int, int], None]
    ) -> FoldPrediction:
        if method == "all-positive":
            return predict_all_positive(fold)
        if method == "blendshape-mapping":
            return predict_mapping(fold)
        return predict_fitted(train, fold.test, self._fit_config(method), self._encoders.get(method), progress)

    def _outcomes(self, predictions: Sequence[FoldPrediction]) -> Outcomes:
        """Join the folds' predictions with the labels."""
        folds = self.data.folds
        return Outcomes(
            label=np.concatenate([fold.test.labels for fold in folds]),
            decision=np.concatenate([prediction.decision for prediction in predictions]),
            probability=np.concatenate([prediction.probability for prediction in predictions]),
            intensity_label=np.concatenate([fold.test.intensities for fold in folds]),
            intensity=np.concatenate([prediction.intensity for prediction in predictions]),
            subject=np.concatenate([fold.test_units for fold in folds]),
            fold=np.concatenate([np.full(len(fold.test), i) for i, fold in enumerate(folds)]),
        )

    def _curve(
        self,
        method: str,
        folds: Sequence[FoldFrames],
        scores: Mapping[str, Mapping[str, MetricScores]],
        tell: Tell,
    ) -> tuple[CurvePoint, ...]:
        """Fit again on shares of the training subjects and score the same test frames; ``scores`` are those of all."""
        points = []
        shares, seeds = self.config.shares, range(self.config.label_seeds)
        draws = [(share, seed) for share in shares for seed in (seeds if share < 100 else [None])]
        for done, (share, seed) in enumerate(draws):
            tell(f"{method}, label curve", done, len(draws))
            of_point = scores
            counts = [len(np.unique(fold.train_units)) for fold in folds]
            if seed is not None:
                subsets = [draw_subsets(fold.train_units, share, seed) for fold in folds]
                counts = [n_units for _, n_units in subsets]
                fitted = [
                    self._predict(method, fold.train.take(mask), fold, lambda done, total: None)
                    for fold, (mask, _) in zip(folds, subsets, strict=True)
                ]
                of_point = score(self._outcomes(fitted), resamples=0)
            means = {name: of_point[name][self.config.average].mean.value for name in ("f1", "roc_auc")}
            points.append(CurvePoint(share, 0 if seed is None else seed, tuple(counts), means["f1"], means["roc_auc"]))
        return tuple(points)


def _untrained(like: EncoderInfo, seed: int) -> LoadedEncoder:
    """Return a random encoder that sees the same pictures as a given one."""
    shape = EncoderInfo(like.embedding_dim, like.image_size, like.crop_ratio, like.mean, like.std, like.arch, seed=seed)
    return untrained_encoder(shape)
