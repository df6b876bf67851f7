"""Frames with AU labels, and what is known of each: features, labels, person, time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.action_units import ABSENT, PRESENT, UNKNOWN
from tclr.schemas.errors import InputError, SettingError


@dataclass(frozen=True)
class LabelledFrames:
    """N frames with a face, each with at least one known label; D numbers describe a frame, A AUs are labelled.

    Parameters
    ----------
    store : Path
        The store that they come from.
    names : list of str
        The AUs, as ``AU01``.
    inputs : ndarray
        (N, D) float32, what a head reads: embeddings, blendshapes, landmarks, or whatever else ``describe`` returned.
    labels : ndarray
        (N, A) int8: 1 present, 0 absent, -1 unknown.
    intensities : ndarray
        (N, A) float32, 0..5, NaN unknown.
    subjects, clips : ndarray
        (N,) str.
    rows : ndarray
        (N,) int64: row of the clip.
    timestamps : ndarray
        (N,) float64, seconds from the clip's start.
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
        return replace(
            self, names=list(names), labels=self.labels[:, columns], intensities=self.intensities[:, columns]
        )

    def mask(self, name: str) -> np.ndarray:
        """Return (N,) bool: where an AU's label is known."""
        return self.labels[:, self.names.index(name)] != UNKNOWN

    def known(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, D) inputs and (n,) labels of an AU where it is known."""
        mask = self.mask(name)
        return self.inputs[mask], self.labels[mask, self.names.index(name)]

    @cached_property
    def occurrence_known(self) -> np.ndarray:
        """(A,) bool: AUs that are both present and absent in these frames, so that there is something to learn."""
        return (self.labels == PRESENT).any(axis=0) & (self.labels == ABSENT).any(axis=0)

    @cached_property
    def intensity_known(self) -> np.ndarray:
        """(A,) bool: AUs whose intensity is known and not always the same."""
        low = np.where(np.isfinite(self.intensities), self.intensities, np.inf).min(axis=0, initial=np.inf)
        high = np.where(np.isfinite(self.intensities), self.intensities, -np.inf).max(axis=0, initial=-np.inf)
        return high > low

    @cached_property
    def _opened(self) -> tuple[Store, dict[tuple[str, str], ClipInfo]]:
        store = Store(self.store)
        return store, {(info.subject, info.clip): info for info in store.clips}

    def people(self) -> set[str]:
        """Return the subjects as ``<dataset>/<subject>``, as an encoder's info names them."""
        dataset = {subject: info.dataset for (subject, _), info in self._opened[1].items()}
        return {f"{dataset[subject]}/{subject}" for subject in np.unique(self.subjects).tolist()}

    def by_clip(self, index: np.ndarray | None = None) -> list[tuple[tuple[str, str], np.ndarray]]:
        """Return ((subject, clip), places) of every clip: where its frames stand, in ``index`` or in all frames."""
        subjects, clips = (self.subjects, self.clips) if index is None else (self.subjects[index], self.clips[index])
        groups: dict[tuple[str, str], list[int]] = {}
        for place, key in enumerate(zip(subjects.tolist(), clips.tolist(), strict=True)):
            groups.setdefault(key, []).append(place)
        return [(key, np.array(places)) for key, places in groups.items()]

    def crops(self, index: np.ndarray) -> np.ndarray:
        """Read crops from the store, which stays open.

        Parameters
        ----------
        index : ndarray
            (n,) int, each frame at most once, in any order.

        Returns
        -------
        ndarray
            (n, S, S, 3) uint8 RGB.

        Raises
        ------
        StoreError
            If the store has changed or cannot be read.
        """
        store, infos = self._opened
        size = store.crop_size()
        out = np.empty((len(index), size, size, 3), np.uint8)
        for key, places in self.by_clip(index):
            out[places] = store.read_rows(infos[key], self.rows[index[places]])
        return out


def embed_crops(encoder: LoadedEncoder, frames: LabelledFrames, batch_size: int = 128) -> np.ndarray:
    """Embed the frames' crops anew, block by block; (N, D) float32."""
    blocks = (np.arange(start, min(start + batch_size, len(frames))) for start in range(0, len(frames), batch_size))
    embedded = encoder.embed_all(map(frames.crops, blocks))
    return np.concatenate([np.zeros((0, encoder.embedding_dim), np.float32), *embedded])


Describe = Callable[[Store, ClipInfo, int, int], np.ndarray]
"""Gives (n, D) float32 of rows start to stop of a clip."""


def no_rows(store: Store, info: ClipInfo, start: int, stop: int) -> np.ndarray:
    """Return no numbers, (n, 0) float32: for what reads crops, or labels alone."""
    return np.zeros((stop - start, 0), np.float32)


def embed_rows(encoder: LoadedEncoder) -> Describe:
    """Return the function that embeds rows of a clip."""
    return lambda store, info, start, stop: encoder.embed(store.read_frames(info, start, stop))


def landmark_rows(store: Store, info: ClipInfo, start: int, stop: int) -> np.ndarray:
    """Return landmarks in the crop, (n, K * 2) float32: what a probe sees of the face's geometry."""
    landmarks = store.read(info, "landmarks", start, stop)[..., :2]
    transform = store.read(info, "transform", start, stop).astype(np.float32)
    placed = np.einsum("tij,tkj->tki", transform[:, :, :2], landmarks) + transform[:, None, :, 2]
    return placed.reshape(len(placed), -1)


def blendshape_rows(store: Store, info: ClipInfo, start: int, stop: int) -> np.ndarray:
    """Return the (n, 52) float32 blendshapes."""
    return store.read(info, "blendshapes", start, stop)


def describe_by(inputs: str, encoder: LoadedEncoder | None) -> Describe:
    """Return the function that gives what a head reads.

    Parameters
    ----------
    inputs : str
        ``embedding``, ``blendshapes``, or ``both``: embedding, then blendshapes.
    encoder : LoadedEncoder or None
        Whose embeddings; not looked at for blendshapes.

    Raises
    ------
    SettingError
        If an encoder is needed and there is none.
    """
    if inputs == "blendshapes":
        return blendshape_rows
    if encoder is None:
        raise SettingError(f"Expected an encoder for a head that reads {inputs!r}, but got none. Give --encoder.")
    embed = embed_rows(encoder)
    if inputs == "embedding":
        return embed
    return lambda store, info, start, stop: np.concatenate(
        [embed(store, info, start, stop), blendshape_rows(store, info, start, stop)], axis=1
    )


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
    inputs, labels, intensities, subjects, clips, rows, timestamps = [], [], [], [], [], [], []
    done, total = 0, sum(info.n_frames for info in infos)
    for info in infos:
        for start in range(0, info.n_frames, batch_size):
            stop = min(start + batch_size, info.n_frames)
            block = store.read_columns(info, "au", names, start, stop)
            used = store.face_mask(info, start, stop) & (block != UNKNOWN).any(axis=1)
            if used.any():
                inputs.append(describe(store, info, start, stop)[used])
                labels.append(block[used])
                intensities.append(store.read_columns(info, "au_intensity", names, start, stop)[used])
                rows.append(start + np.flatnonzero(used))
                timestamps.append(store.read(info, "timestamp", start, stop)[used])
                subjects += [info.subject] * int(used.sum())
                clips += [info.clip] * int(used.sum())
            done += stop - start
            progress(done, total)
    if not labels:
        raise InputError(f"Expected labelled frames with a face in {store.root}, but found none.")
    return LabelledFrames(
        store.root,
        names,
        np.concatenate(inputs),
        np.concatenate(labels),
        np.concatenate(intensities),
        np.array(subjects),
        np.array(clips),
        np.concatenate(rows),
        np.concatenate(timestamps),
    )
