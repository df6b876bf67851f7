"""Frames with AU labels, and what is known about each: inputs of a head, labels, person, time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from tclr.pipeline.au.inputs.rows import Describe
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.action_units import ABSENT, MAX_INTENSITY, PRESENT, UNKNOWN
from tclr.schemas.errors import InputError


@dataclass(frozen=True)
class LabelledFrames:
    """N frames with a face, each with at least one known label; D numbers describe a frame, A AUs are labelled.

    ``store`` is where they come from and ``names`` are the AUs, as ``AU01``. ``inputs`` (N, D) float32 are what a head
    reads: embeddings, blendshapes, landmarks, or whatever else ``describe`` returned. ``labels`` (N, A) int8 are 1
    present, 0 absent, -1 unknown; ``intensities`` (N, A) float32 0..5, NaN unknown. ``subjects`` and ``clips`` are (N,)
    str, ``rows`` (N,) int64 rows of the clips, ``timestamps`` (N,) float64 seconds from the clip's start.
    """

    store: Path
    names: list[str]
    inputs: np.ndarray
    labels: np.ndarray
    intensities: np.ndarray
    subjects: np.ndarray
    clips: np.ndarray
    rows: np.ndarray
    timestamps: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> LabelledFrames:
        """Return some of the frames, by an (N,) bool mask or an (n,) int index."""
        columns = ("inputs", "labels", "intensities", "subjects", "clips", "rows", "timestamps")
        return replace(self, **{name: getattr(self, name)[index] for name in columns})

    def select(self, names: list[str]) -> LabelledFrames:
        """Return the same frames with only these AUs."""
        columns = [self.names.index(name) for name in names]
        labels, intensities = self.labels[:, columns], self.intensities[:, columns]
        return replace(self, names=list(names), labels=labels, intensities=intensities)

    def known(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, D) inputs and (n,) labels of an AU where it is known."""
        labels = self.labels[:, self.names.index(name)]
        return self.inputs[labels != UNKNOWN], labels[labels != UNKNOWN]

    @cached_property
    def occurrence_known(self) -> np.ndarray:
        """(A,) bool: AUs that are both present and absent in these frames, so that they can be learnt."""
        return (self.labels == PRESENT).any(axis=0) & (self.labels == ABSENT).any(axis=0)

    @cached_property
    def intensity_known(self) -> np.ndarray:
        """(A,) bool: AUs whose intensity is known and varies."""
        low = np.where(np.isfinite(self.intensities), self.intensities, np.inf).min(axis=0, initial=np.inf)
        high = np.where(np.isfinite(self.intensities), self.intensities, -np.inf).max(axis=0, initial=-np.inf)
        return high > low

    @property
    def targets(self) -> np.ndarray:
        """(N, A) float64, 0..1: the intensity where it is known, else the occurrence; NaN where neither is."""
        occurrence = np.where(self.labels == UNKNOWN, np.nan, self.labels == PRESENT)
        return np.where(np.isfinite(self.intensities), self.intensities / MAX_INTENSITY, occurrence)

    @cached_property
    def _opened(self) -> tuple[Store, dict[tuple[str, str], ClipInfo]]:
        store = Store(self.store)
        return store, {(info.subject, info.clip): info for info in store.clips}

    @property
    def _full_names(self) -> dict[str, str]:
        """``<dataset>/<subject>`` of each subject of the store."""
        return {subject: f"{info.dataset}/{subject}" for (subject, _), info in self._opened[1].items()}

    def people(self) -> set[str]:
        """Return the subjects as ``<dataset>/<subject>``, the names in an encoder's info."""
        return {self._full_names[subject] for subject in np.unique(self.subjects).tolist()}

    def seen_by(self, encoder: LoadedEncoder) -> np.ndarray:
        """Return (N,) bool: the frames of people whom an encoder has learnt from."""
        known = set(encoder.info.subjects)
        return np.isin(self.subjects, [subject for subject, name in self._full_names.items() if name in known])

    def by_clip(self, index: np.ndarray | None = None) -> list[tuple[tuple[str, str], np.ndarray]]:
        """Return ((subject, clip), places) of every clip: the positions of its frames, in ``index`` or overall."""
        subjects, clips = (self.subjects, self.clips) if index is None else (self.subjects[index], self.clips[index])
        groups: dict[tuple[str, str], list[int]] = {}
        for place, key in enumerate(zip(subjects.tolist(), clips.tolist(), strict=True)):
            groups.setdefault(key, []).append(place)
        return [(key, np.array(places)) for key, places in groups.items()]

    def crops(self, index: np.ndarray) -> np.ndarray:
        """Read the (n, S, S, 3) uint8 RGB crops of an (n,) index, each frame at most once, in any order.

        The store stays open.

        Raises
        ------
        StoreError
            If the store has changed or cannot be read.
        """
        store, infos = self._opened
        size = store.crop_size()
        out = np.empty((len(index), size, size, 3), np.uint8)
        for key, places in self.by_clip(index):
            out[places] = store.read_crops_at(infos[key], self.rows[index[places]])
        return out


def embed_crops(encoder: LoadedEncoder, frames: LabelledFrames, batch_size: int = 128) -> np.ndarray:
    """Embed the frames' crops, block by block; (N, D) float32."""
    blocks = (np.arange(start, min(start + batch_size, len(frames))) for start in range(0, len(frames), batch_size))
    embedded = encoder.embed_all(map(frames.crops, blocks))
    return np.concatenate([np.zeros((0, encoder.embedding_dim), np.float32), *embedded])


class ClipLabels(Protocol):
    """Labels of a clip that are not in its store: A ``names``, and values by frame number."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the AUs, as ``AU01``."""
        ...

    def at(self, source_frames: np.ndarray) -> np.ndarray:
        """Return (T, A) int8 occurrence at the given frame numbers; -1 for frames without labels."""
        ...

    def intensity_at(self, source_frames: np.ndarray) -> np.ndarray:
        """Return (T, A) float32 intensity at the given frame numbers; NaN where unknown."""
        ...


GivenLabels = Mapping[tuple[str, str], ClipLabels]
"""Labels by subject and clip."""


def spread_labels(given: ClipLabels, frames: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (T, A) int8 occurrence and float32 intensity of some AUs at frame numbers, unknown where not given.

    >>> from tclr.pipeline.sources import labels_of_columns
    >>> given = labels_of_columns(["AU12_c"], np.array([7]), np.array([[1.0]]), "labels")
    >>> spread_labels(given, np.array([6, 7]), ["AU06", "AU12"])[0].tolist()
    [[-1, -1], [-1, 1]]
    """
    labels = np.full((len(frames), len(names)), UNKNOWN, np.int8)
    intensities = np.full(labels.shape, np.nan, np.float32)
    columns = [list(names).index(name) for name in given.names]
    labels[:, columns], intensities[:, columns] = given.at(frames), given.intensity_at(frames)
    return labels, intensities


def _read_labels(
    store: Store, info: ClipInfo, names: Sequence[str], start: int, stop: int, given: GivenLabels | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and intensities of rows of a clip, from its store or as they are given."""
    if given is not None:
        return spread_labels(given[info.subject, info.clip], store.read(info, "source_frame", start, stop), names)
    labels = store.read_columns(info, "au", names, start, stop)
    return labels, store.read_columns(info, "au_intensity", names, start, stop)


def collect_frames(
    store: Store,
    describe: Describe,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    given: GivenLabels | None = None,
) -> LabelledFrames:
    """Describe every frame that has a face and at least one known label, block by block.

    Parameters
    ----------
    store : Store
        Store with labels.
    describe : callable
        Returns the inputs of a block of rows, such as ``landmark_rows``.
    batch_size : int
        Rows per block.
    progress : callable
        Called with frames done and frames in total.
    given : mapping, optional
        Labels by subject and clip, instead of those of the store.

    Raises
    ------
    InputError
        If the store has no labels, or no labelled frame with a face.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     frames = collect_frames(store, blendshape_rows, 64)
    >>> frames.inputs.shape, frames.labels.shape
    ((32, 52), (32, 15))
    """
    found = {(info.subject, info.clip): store.names(info, "au") for info in store.clips}
    if given is not None:
        found = {key: list(given[key].names) if key in given else [] for key in found}
    infos = [info for info in store.clips if found[info.subject, info.clip]]
    names = sorted({name for its in found.values() for name in its})
    if not names:
        raise InputError(
            f"Expected a store with AU labels, but {store.root} has none. Run 'tclr embed' without --au-model: "
            "AUs then come from blendshapes."
        )
    blocks = []
    done, total = 0, sum(info.n_frames for info in infos)
    for info in infos:
        for start in range(0, info.n_frames, batch_size):
            stop = min(start + batch_size, info.n_frames)
            labels, intensities = _read_labels(store, info, names, start, stop, given)
            used = store.face_mask(info, start, stop) & (labels != UNKNOWN).any(axis=1)
            if used.any():
                columns = (
                    describe(store, info, start, stop),
                    labels,
                    intensities,
                    np.full(len(used), info.subject),
                    np.full(len(used), info.clip),
                    np.arange(start, stop),
                    store.read(info, "timestamp", start, stop),
                )
                blocks.append([column[used] for column in columns])
            done += stop - start
            progress(done, total)
    if not blocks:
        raise InputError(f"Expected labelled frames with a face in {store.root}, but found none.")
    return LabelledFrames(store.root, names, *(np.concatenate(parts) for parts in zip(*blocks, strict=True)))
