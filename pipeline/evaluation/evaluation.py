"""Evaluation of AU predictions by a protocol: every method on the same folds, each subject by models of other people.

A method sees labels of a fold's training frames only; its thresholds come from them, too. Scores are those of the
out-of-fold predictions of all test frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.au import MetricScores, Outcomes, find_encoder, score
from tclr.pipeline.encoder import EncoderInfo, LoadedEncoder, load_backbone, load_encoder, untrained_encoder
from tclr.pipeline.evaluation.folds import FoldedData, FoldFrames
from tclr.pipeline.evaluation.label_curve import CurvePoint, draw_subsets
from tclr.pipeline.evaluation.methods import METHODS, FoldPrediction, Method, bundled_method, make_methods
from tclr.pipeline.evaluation.protocols import qualified
from tclr.pipeline.sources import read_key
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.config import EvaluateConfig, FitAuConfig
from tclr.schemas.errors import InputError, SettingError, suggestion

BUNDLED = "bundled"
"""The method that is not fitted here."""
UNTRAINED = "random"
"""Begins the names of encoders that are the untrained baseline themselves."""
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class MethodResult:
    """What a method predicted, and how well.

    ``label`` is its name in tables, ``thresholds`` are by fold and AU, ``n_aus`` counts the AUs that it predicts,
    ``scores`` are those of ``au.score``, ``curve`` is the label-efficiency curve.
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


def note_people_seen(info: EncoderInfo, name: str, data: FoldedData) -> tuple[str, ...]:
    """Return a note if an encoder was pretrained, without labels, on people that are tested; ``name`` is for messages.

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
    named = bool(info.subjects)  # older files name only the store
    if not seen and (named or all(store.data_hash != info.data_hash for store in data.stores)):
        return ()
    who = f"{len(seen)} of the {len(tested)} test subjects" if named else "this store, test subjects included"
    if info.supervised:
        raise InputError(
            f"Expected an encoder trained without labels of test subjects, but {name} learnt from labels of {who}. "
            "Give an encoder that was trained on other people, or without labels."
        )
    return (f"the encoder was pretrained, without labels, on frames of {who}",)


class Evaluation:
    r"""An evaluation that is ready to run: stores, protocol and encoders have been read and checked.

    Parameters
    ----------
    stores : sequence of Path
        One store, or two for ``cross:``: where to train, where to test.
    protocol : str
        See ``plan_evaluation``.
    encoder : str
        ``box``, or an encoder as ``load_encoder`` takes it; ``random`` for the untrained baseline alone.
    config, fit : settings
        How to score, and how heads are fitted.
    methods : sequence of str, optional
        Some of ``METHODS``; by default all that these stores and arguments allow.
    imagenet : Path, optional
        Weights without an embedding layer, for the method of that name.
    key_file : Path, optional
        Key of a store of pseudonyms, for a protocol that lists people by name.

    Raises
    ------
    SettingError
        If a method or the protocol is unknown, or a requested method lacks what it needs.
    InputError
        If a subject would be on both sides, or the encoder learnt from labels of test subjects.
    StoreError, ModelError
        If a store or an encoder cannot be read.

    Examples
    --------
    >>> from tclr.schemas.config import EvaluateConfig, FitAuConfig
    >>> _ = Path("folds.csv").write_text("subject,fold\nF001,a\nF003,b\n")
    >>> stores, methods = [Path("store")], ["all-positive"]
    >>> evaluation = Evaluation(stores, "folds.csv", "random", EvaluateConfig(), FitAuConfig(), methods=methods)
    >>> [round(result.scores["f1"]["pooled"].aus[0].value, 2) for result in evaluation.run()]
    [0.81]
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
        self.config, self.fit = config, fit
        if fit.head == "blend":
            raise SettingError(f"Expected --head linear, mlp or finetune, but got {fit.head!r}. Give one of these.")
        for name in ("leave_out", "inputs", "scale_on"):
            if getattr(fit, name) != FitAuConfig.model_fields[name].default:
                raise SettingError(
                    f"Expected no --{name.replace('_', '-')}, but got {getattr(fit, name)!r}: the protocol says who "
                    "trains, and --methods what heads read. Leave it out."
                )
        self.data = FoldedData(
            stores,
            protocol,
            test_folds=config.test_folds,
            batch_size=fit.batch_size,
            pseudonyms=None if key_file is None else read_key(key_file),
        )
        self.plan = self.data.plan
        encoders = _load_encoders(encoder, imagenet, fit.seed)
        self._notes = {
            name: note_people_seen(encoders[name].info, given, self.data)
            for name, given in (("encoder", encoder), ("imagenet", str(imagenet)))
            if name in encoders
        }
        made = make_methods(encoders, fit, encoder)
        why_not = add_bundled(made, self.data, methods)
        self.methods = choose_methods(methods, self.data, made, self._notes, {BUNDLED: why_not} if why_not else {})
        if BUNDLED in self.methods:
            self._notes[BUNDLED] = (
                "it was fitted on other data, at whose thresholds it is judged (docs/model-card.md)",
            )
        self._made = {name: made[name] for name in self.methods}

    def run(self, tell: Tell = lambda what, done, total: None) -> Iterator[MethodResult]:
        """Run one method after the other.

        Parameters
        ----------
        tell : callable
            Called with what is being done, steps done and steps in all.

        Yields
        ------
        MethodResult
            As soon as it is there, so that a later failure loses nothing.
        """
        for name, method in self._made.items():
            started = time.perf_counter()
            folds = self.data.folds
            if method.describe is not None:
                folds = self.data.describe(method.describe, partial(tell, f"{name}, frames"))
            by_fold = {
                fold.split.name: method.predict(fold.train, fold.test, partial(tell, f"{name}, fold {fold.split.name}"))
                for fold in folds
            }
            outcomes = _join(folds, list(by_fold.values()))
            scores = score(outcomes, resamples=self.config.resamples, seed=self.fit.seed)
            curve = () if method.fit is None else self._curve(name, folds, scores, tell)
            encoder = method.encoder
            yield MethodResult(
                name,
                method.label,
                outcomes,
                scores,
                {fold: prediction.thresholds for fold, prediction in by_fold.items()},
                int((outcomes.decision != UNKNOWN).any(axis=0).sum()),
                (*self._notes.get(name, ()), *(f"fold {f}: {note}" for f, p in by_fold.items() for note in p.notes)),
                {} if encoder is None else {"digest": encoder.digest, **encoder.info.brief()},
                curve,
                time.perf_counter() - started,
            )

    def _curve(
        self, name: str, folds: Sequence[FoldFrames], scores: dict[str, dict[str, MetricScores]], tell: Tell
    ) -> tuple[CurvePoint, ...]:
        """Fit on shares of the training subjects and score the same test frames; ``scores`` are those of all."""
        points = []
        draws = [(share, seed) for share in self.config.shares for seed in range(self.config.label_seeds)]
        draws = [(share, seed) for share, seed in draws if share < 100 or seed == 0]
        for done, (share, seed) in enumerate(draws):
            tell(f"{name}, label curve", done, len(draws))
            subsets = [draw_subsets(fold.train_units, share, seed) for fold in folds]
            of_point = scores
            if share < 100:
                pairs = zip(folds, subsets, strict=True)
                fitted = [self._made[name].predict(fold.train.take(mask), fold.test) for fold, (mask, _) in pairs]
                of_point = score(_join(folds, fitted), resamples=0)
            f1, roc_auc = (of_point[metric][self.config.average].mean.value for metric in ("f1", "roc_auc"))
            points.append(CurvePoint(share, seed, tuple(n_units for _, n_units in subsets), f1, roc_auc))
        return tuple(points)


def _join(folds: Sequence[FoldFrames], predictions: Sequence[FoldPrediction]) -> Outcomes:
    """Return the outcomes of all folds; intervals resample the units of the protocol."""
    outcomes = Outcomes.join_folds([prediction.outcomes for prediction in predictions])
    return replace(outcomes, subject=np.concatenate([fold.test_units for fold in folds]))


def _load_encoders(encoder: str, imagenet: Path | None, seed: int) -> dict[str, LoadedEncoder]:
    """Return the encoders by method; the random one sees the same pictures as the given one."""
    given = load_encoder(find_encoder(encoder), seed=seed)
    encoders = {"random": given}
    if encoder.partition(":")[0] != UNTRAINED:
        like = given.info
        shape = (like.embedding_dim, like.image_size, like.crop_ratio, like.mean, like.std, like.arch)
        encoders = {"random": untrained_encoder(EncoderInfo(*shape, seed=seed)), "encoder": given}
    if imagenet is not None:
        encoders["imagenet"] = load_backbone(imagenet, given.info)
    return encoders


def add_bundled(made: dict[str, Method], data: FoldedData, wanted: Sequence[str] | None) -> str:
    """Add the bundled head to the methods if it is wanted and can be judged; return why not, or ""."""
    if wanted is not None and BUNDLED not in wanted:
        return "it is not wanted"
    if not data.has_shape:
        return "not all clips have mediapipe's landmarks and blendshapes"
    method = bundled_method(data.fits_bundled)
    if method.encoder is not None:
        try:
            note_people_seen(method.encoder.info, "the bundled model", data)
        except InputError:
            return "it has learnt from labels of people who are tested"
    made[BUNDLED] = method
    return ""


def choose_methods(
    wanted: Sequence[str] | None,
    data: FoldedData,
    made: Mapping[str, Method],
    given: Collection[str],
    reasons: Mapping[str, str],
) -> list[str]:
    """Return the methods to run, in the order of ``METHODS``; by default all that the stores allow.

    ``reasons`` say why some cannot be done.

    Raises
    ------
    SettingError
        If a method is unknown or lacks what it needs; by default, if one of the ``given`` encoders cannot be judged.
    """
    missing = {name: f"no {name} was given" for name in METHODS if name not in made}
    if not data.has_blendshapes:
        missing |= dict.fromkeys(("blendshapes", "blendshape-mapping"), "not all clips have blendshapes")
    if not data.has_crops:
        missing |= dict.fromkeys(("random", "encoder", "imagenet"), "not all clips have crops")
    missing |= reasons
    possible = [name for name in METHODS if name not in missing]
    if unknown := set(wanted or ()) - set(METHODS):
        name = min(unknown)
        raise SettingError(f"Unknown method {name!r}. Known methods: {', '.join(METHODS)}.{suggestion(name, METHODS)}")
    for name in given if wanted is None else wanted:
        if name in missing:
            advice = f"Give --methods {','.join(possible)}" if wanted is None else "Leave it out of --methods"
            raise SettingError(f"Method {name!r} cannot be done: {missing[name]}. {advice}.")
    return [name for name in possible if wanted is None or name in wanted]
