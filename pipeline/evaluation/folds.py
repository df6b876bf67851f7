"""The labelled frames of an evaluation: read from its stores, limited to its protocol, split into train and test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tclr.pipeline.au import MARGIN, TEMPLATE, Describe, LabelledFrames, collect_frames, no_rows
from tclr.pipeline.evaluation.protocols import EvaluationPlan, Split, StoreFacts, plan_evaluation, qualified
from tclr.pipeline.geometry import N_LANDMARKS
from tclr.pipeline.sources import Pseudonyms
from tclr.pipeline.store import Store, hash_data
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.errors import InputError

Progress = Callable[[int, int], None]


def _shards(frames: LabelledFrames) -> np.ndarray:
    return np.char.add(np.char.add(frames.subjects, "/"), frames.clips)


@dataclass(frozen=True)
class FoldFrames:
    """One fold: frames to learn from, frames to predict, and the unit, subject or shard, of each."""

    split: Split
    train: LabelledFrames
    train_units: np.ndarray
    test: LabelledFrames
    test_units: np.ndarray


class LabelledStore:
    """A store of an evaluation, with the labels of its frames that have a face.

    Raises
    ------
    InputError
        If it has no labelled frame with a face.
    """

    def __init__(self, path: Path, batch_size: int) -> None:
        self.path, self.batch_size = path, batch_size
        with Store(path) as store:
            self.root = store.clips[0].root
            self.data_hash = hash_data(store.clips)
            self.has_crops = store.has_frames
            self.fields = set.intersection(*(set(store.fields(info)) for info in store.clips))
            self.n_landmarks = {store.read(info, "landmarks", 0, 1).shape[1] for info in store.clips}
            aligned = [info.root.align for info in store.clips]
            self.fits_bundled = all((align.template, align.margin) == (TEMPLATE, MARGIN) for align in aligned)
            self.labels = collect_frames(store, no_rows, batch_size)
        shards = frozenset(np.unique(_shards(self.labels)).tolist())
        subjects = frozenset(np.unique(self.labels.subjects).tolist())
        names, key = frozenset(self.labels.names), self.root.pseudonym_key
        self.facts = StoreFacts(str(path), self.root.dataset, names, subjects, shards, key)

    def units(self, frames: LabelledFrames, plan: EvaluationPlan) -> np.ndarray:
        """Return (N,) str: which unit of the plan's splits each frame belongs to."""
        if plan.unit == "shard":
            return _shards(frames)
        if plan.crosses:
            names = {subject: qualified(self.facts, subject) for subject in self.facts.subjects}
            return np.array([names[subject] for subject in frames.subjects.tolist()])
        return frames.subjects

    def describe(self, describe: Describe, plan: EvaluationPlan, progress: Progress) -> LabelledFrames:
        """Return the frames that take part, described, with the plan's AUs only."""
        with Store(self.path) as store:
            store.clips = [info for info in store.clips if info.clip.startswith(plan.clip)]
            return self.part(plan, collect_frames(store, describe, self.batch_size, progress))

    def part(self, plan: EvaluationPlan, frames: LabelledFrames | None = None) -> LabelledFrames:
        """Return those frames that take part, by default without any description."""
        if frames is None:
            frames = self.labels.take(np.char.startswith(self.labels.clips, plan.clip))
        frames = frames.select(list(plan.au_names))
        return frames.take((frames.labels != UNKNOWN).any(axis=1))

    def count_labelled(self, plan: EvaluationPlan, units: frozenset[str]) -> int:
        """Return how many frames of some units have a known label, with or without a face."""
        count = 0
        with Store(self.path) as store:
            for info in store.clips:
                unit = f"{info.subject}/{info.clip}" if plan.unit == "shard" else info.subject
                unit = qualified(self.facts, unit) if plan.crosses else unit
                if unit in units and info.clip.startswith(plan.clip):
                    labels = store.read_columns(info, "au", plan.au_names)
                    count += int((labels != UNKNOWN).any(axis=1).sum())
        return count


class FoldedData:
    """The stores of an evaluation and its plan; gives the frames of every fold, described as a method needs them.

    ``paths`` are the stores, ``test_folds`` the folds of protocol emotionet, ``batch_size`` the rows read at once;
    ``protocol`` and ``pseudonyms`` are those of ``plan_evaluation``, which also has the errors.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        protocol: str,
        *,
        test_folds: int = 3,
        batch_size: int = 128,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        self.stores = [LabelledStore(Path(path), batch_size) for path in paths]
        facts = [store.facts for store in self.stores]
        self.plan = plan_evaluation(protocol, facts, n_folds=test_folds, pseudonyms=pseudonyms)
        self.folds = list(self.deal([store.part(self.plan) for store in self.stores]))
        tested = frozenset(unit for split in self.plan.splits for unit in split.test)
        self.n_labelled = sum(store.count_labelled(self.plan, tested) for store in self.stores)
        self.n_tested = sum(len(fold.test) for fold in self.folds)

    def deal(self, described: Sequence[LabelledFrames]) -> list[FoldFrames]:
        """Deal the frames of all stores to the sides of every split.

        Raises
        ------
        InputError
            If a side is left without frames.
        """
        pairs = list(zip(self.stores, described, strict=True))
        units = [(frames, store.units(frames, self.plan)) for store, frames in pairs]
        return [
            FoldFrames(split, *self._side(units, split.train, split.name), *self._side(units, split.test, split.name))
            for split in self.plan.splits
        ]

    def _side(
        self, described: Sequence[tuple[LabelledFrames, np.ndarray]], wanted: frozenset[str], fold: str
    ) -> tuple[LabelledFrames, np.ndarray]:
        """Return the frames of some units, all of one store, and the unit of each."""
        for frames, units in described:
            inside = np.isin(units, sorted(wanted))
            if inside.any():
                return frames.take(inside), units[inside]
        where = ", ".join(str(store.path) for store in self.stores)
        raise InputError(
            f"Expected frames with a face and known labels of {', '.join(self.plan.au_names)} on both sides of fold "
            f"{fold!r}, but {where} has none on one of them. Give a store with more subjects or clips."
        )

    def describe(self, describe: Describe, progress: Progress = lambda done, total: None) -> list[FoldFrames]:
        """Read and describe all frames that take part; the rows are those of ``folds``, whatever the description."""
        return self.deal([store.describe(describe, self.plan, progress) for store in self.stores])

    @property
    def has_blendshapes(self) -> bool:
        """Whether all clips have blendshapes."""
        return all("blendshapes" in store.fields for store in self.stores)

    @property
    def has_crops(self) -> bool:
        """Whether all clips have crops."""
        return all(store.has_crops for store in self.stores)

    @property
    def has_shape(self) -> bool:
        """Whether all clips have what the bundled heads read: mediapipe's landmarks and blendshapes."""
        return self.has_blendshapes and all(store.n_landmarks == {N_LANDMARKS} for store in self.stores)

    @property
    def fits_bundled(self) -> bool:
        """Whether all clips have crops that are aligned as the bundled network needs them."""
        return self.has_crops and all(store.fits_bundled for store in self.stores)
