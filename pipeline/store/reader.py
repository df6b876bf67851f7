"""Reads a store folder."""

from __future__ import annotations

import resource
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from tclr.pipeline.store.chunks import FrameChunks
from tclr.pipeline.store.guard import check_chunks, open_clip, open_dataset
from tclr.pipeline.store.infos import ClipInfo, open_file, read_clip_infos, reading, scan_clips
from tclr.pipeline.system import read_image_size
from tclr.schemas.errors import NewerFormatError, StoreError
from tclr.schemas.store import CLIP_FIELDS, FACE_STATUSES, check_clip, check_values

MAX_OPEN_FILES = 64
"""Subject files a reader keeps open; chosen by us: far below the usual limit of 1,024 a process."""
SHARE_OF_OPEN_FILES = 8
"""Of the files that the process may open, a reader takes at most one in so many: there are several readers."""


def _max_open_files() -> int:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_OPEN_FILES if allowed < 0 else max(1, min(MAX_OPEN_FILES, allowed // SHARE_OF_OPEN_FILES))


def _decode_jpeg(file: np.ndarray, crop: np.ndarray) -> None:
    if not len(file):
        crop[:] = 0
    elif (size := read_image_size(file)) != (crop.shape[1], crop.shape[0]):
        raise ValueError(f"expected a JPEG of {crop.shape[1]} x {crop.shape[0]} pixels, but got {size}")
    else:
        crop[:] = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB))


class Store:
    """Reads a store folder. Cheap to pickle: open files stay behind.

    Parameters
    ----------
    root : Path
        A folder that ``tclr preprocess`` wrote, or one of its files.
    subjects : iterable of str, optional
        Open only these; default all.
    skip_damaged : bool
        Leave out files and clips that are known to be damaged as soon as they are opened, instead of an error.

    Attributes
    ----------
    damage : dict of str to str
        What was left out, ``subject/clip`` or ``subject`` for a whole file, with the reason.

    Raises
    ------
    StoreError
        If there is no subject file in it, or one is damaged or of a newer format.
    """

    paths: dict[str, Path]
    clips: list[ClipInfo]

    def __init__(self, root: Path, subjects: Iterable[str] | None = None, *, skip_damaged: bool = False) -> None:
        self.root = Path(root)
        self._files: OrderedDict[str, h5py.File] = OrderedDict()
        self._chunks: dict[str, dict[str, FrameChunks | None]] = {}
        self.damage: dict[str, str] = {}
        read = self._read_undamaged if skip_damaged else read_clip_infos
        if self.root.is_file():
            self.clips = read(self.root)
            self.paths = {info.subject: self.root for info in self.clips}
            return
        paths = sorted((self.root / "subjects").glob("*.h5"))
        wanted = None if subjects is None else set(subjects)
        self.paths = {path.stem: path for path in paths if wanted is None or path.stem in wanted}
        if not self.paths:
            raise StoreError(
                f"Expected a store with subjects/*.h5, but found none in {self.root}. "
                "Run 'tclr preprocess SOURCE STORE' first."
            )
        self.clips = [info for path in self.paths.values() for info in read(path)]
        for info in self.clips:
            if info.subject not in self.paths:
                raise StoreError(
                    f"Expected the file of subject {info.subject} to be called so, but found none of that name in "
                    f"{self.root / 'subjects'}. Give it back its name, {info.subject}.h5."
                )

    def _read_undamaged(self, path: Path) -> list[ClipInfo]:
        try:
            infos, damage = scan_clips(path)
        except NewerFormatError:
            raise
        except StoreError as error:
            self.damage[path.stem] = str(error)
            return []
        self.damage |= {f"{path.stem}/{clip}": reason for clip, reason in damage.items()}
        return infos

    @property
    def subjects(self) -> list[str]:
        """Names of all subjects, sorted."""
        return list(self.paths)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict(), "_chunks": {}}

    def _group(self, info: ClipInfo) -> h5py.Group:
        file = self._files.pop(info.subject, None)
        if file is None:
            while len(self._files) >= _max_open_files():
                self._close(next(iter(self._files)))
            file = open_file(self.paths[info.subject])
        self._files[info.subject] = file
        with reading(self.paths[info.subject], info.clip):
            return open_clip(file, info.clip)

    def close(self) -> None:
        """Close all open files."""
        for subject in list(self._files):
            self._close(subject)

    def _close(self, subject: str) -> None:
        self._chunks.pop(subject, None)
        self._files.pop(subject).close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def fields(self, info: ClipInfo) -> list[str]:
        """Return the names of the clip's datasets, sorted."""
        with reading(self.paths[info.subject], info.clip):
            return sorted(self._group(info))

    def names(self, info: ClipInfo, field_name: str) -> list[str]:
        """Return the column names of ``au``, ``au_intensity`` or ``blendshapes``; empty if the clip has none."""
        group = self._group(info)
        with reading(self.paths[info.subject], info.clip):
            if field_name not in group:
                return []
            dataset = open_dataset(group, field_name, info.n_frames)
            names = [str(name) for name in dataset.attrs["names"]]
            if len(names) != dataset.shape[1]:
                raise ValueError(f"expected a name for each of {dataset.shape[1]} columns, but got {len(names)}")
            return names

    def read(self, info: ClipInfo, field_name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read rows ``start:stop`` of a small dataset, shape and dtype as in the layout.

        Raises
        ------
        StoreError
            If the clip has no such dataset or it cannot be read.
        """
        group = self._group(info)
        if field_name not in group:
            known = ", ".join(sorted(group))
            raise StoreError(f"Clip {info.name} has no dataset {field_name!r} in {self.root}. It has: {known}.")
        with reading(self.paths[info.subject], info.clip):
            dataset = open_dataset(group, field_name, info.n_frames)
            check_chunks(dataset, start, stop)
            return (dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset)[start:stop]

    def read_columns(
        self, info: ClipInfo, field_name: str, names: Sequence[str], start: int = 0, stop: int | None = None
    ) -> np.ndarray:
        """Read rows ``start:stop`` of ``au`` or ``au_intensity``, a column for each of some AUs, in their order.

        Returns
        -------
        ndarray
            (n, A) of the dataset's dtype; unknown (-1 or NaN) for an AU that this clip has no labels of.
        """
        spec, own = CLIP_FIELDS[field_name], self.names(info, field_name)
        n_rows = len(range(info.n_frames)[start:stop])
        out = np.full((n_rows, len(names)), spec.missing, spec.dtype)
        places = [(column, own.index(name)) for column, name in enumerate(names) if name in own]
        if places:
            columns, sources = (list(side) for side in zip(*places, strict=True))
            out[:, columns] = self.read(info, field_name, start, stop)[:, sources]
        return out

    def read_frames(self, info: ClipInfo, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read crops ``start:stop``, whatever the codec.

        Returns
        -------
        ndarray
            (n, S, S, 3) uint8 RGB; zeros where there is no face.

        Raises
        ------
        StoreError
            If the clip is stored without crops, or they cannot be read.
        """
        group = self._group(info)
        with reading(self.paths[info.subject], info.clip):
            if "frames" in group:
                dataset = open_dataset(group, "frames", info.n_frames)
                check_chunks(dataset, start, stop)
                return dataset[start:stop]
            self.require_frames([info])
            size = info.root.align.size
            files = open_dataset(group, "frames_jpeg", info.n_frames)[start:stop]
            crops = np.empty((len(files), size, size, 3), np.uint8)
            for crop, file in zip(crops, files, strict=True):
                _decode_jpeg(file, crop)
            return crops

    def read_rows(self, info: ClipInfo, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Read some crops, whatever the codec: the fast path of the training loader.

        Each chunk that holds one of them is read and decoded once, past HDF5's own filters and lock.

        Parameters
        ----------
        info : ClipInfo
            The clip.
        rows : ndarray
            (n,) int, each once, in any order.
        out : ndarray, optional
            (n, S, S, 3) uint8, contiguous, to put them in.

        Returns
        -------
        ndarray
            (n, S, S, 3) uint8 RGB; zeros where there is no face.

        Raises
        ------
        StoreError
            If the clip is stored without crops, or a row is not there or cannot be read.
        """
        rows, path = np.asarray(rows), self.paths[info.subject]
        if not 0 <= rows.min() <= rows.max() < info.n_frames or len(np.unique(rows)) < len(rows):
            raise StoreError(
                f"Expected rows 0 to {info.n_frames - 1} of clip {info.name}, each once, but got {rows.tolist()} for "
                f"{path}. Run 'tclr preprocess' again if the file has changed."
            )
        with reading(path, info.clip):
            if (chunks := self._frame_chunks(info)) is not None:
                out = np.empty((len(rows), *chunks.frame_shape), np.uint8) if out is None else out
                chunks.read(rows, out)
                return out
            self.require_frames([info])
            size = info.root.align.size
            out = np.empty((len(rows), size, size, 3), np.uint8) if out is None else out
            order = np.argsort(rows)
            files = open_dataset(self._group(info), "frames_jpeg", info.n_frames)[rows[order]]
            for place, file in zip(order, files, strict=True):
                _decode_jpeg(file, out[place])
            return out

    def _frame_chunks(self, info: ClipInfo) -> FrameChunks | None:
        """Return where a clip's frames lie, as found once while its file is open; ``None`` if they are JPEG files."""
        known = self._chunks.setdefault(info.subject, {})
        if info.subject in self._files and info.clip in known:
            self._files.move_to_end(info.subject)
        else:
            group = self._group(info)
            known[info.clip] = FrameChunks(open_dataset(group, "frames", info.n_frames)) if "frames" in group else None
        return known[info.clip]

    def face_mask(self, info: ClipInfo, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return (n,) bool for rows ``start:stop``: frames that have landmarks and a crop."""
        return np.isin(self.read(info, "status", start, stop), FACE_STATUSES)

    @property
    def has_frames(self) -> bool:
        """Whether crops are stored of every clip."""
        return all(info.has_frames for info in self.clips)

    def require_frames(self, infos: Iterable[ClipInfo]) -> None:
        """Check that crops are stored of some clips.

        Raises
        ------
        StoreError
            If one was made with ``--no-frames``.
        """
        if without := next((info for info in infos if not info.has_frames), None):
            raise StoreError(
                f"Expected crops for an encoder, but {without.name} of {self.root} was stored without (--no-frames). "
                "Run 'tclr preprocess' with --frames on its source, or 'tclr embed --embedding none', which needs none."
            )

    def has_blendshapes(self) -> bool:
        """Return whether every clip has blendshapes."""
        return all(self.names(info, "blendshapes") for info in self.clips)

    def require_blendshapes(self, advice: str) -> None:
        """Check that every clip has blendshapes.

        Parameters
        ----------
        advice : str
            What to do without, a sentence.

        Raises
        ------
        StoreError
            If one has none.
        """
        if without := next((info for info in self.clips if not self.names(info, "blendshapes")), None):
            raise StoreError(
                f"Expected blendshapes in every clip, but {without.name} of {self.root} has none: only the mediapipe "
                f"detector gives them. {advice}"
            )

    def crop_size(self) -> int:
        """Return the crop side in pixels; without crops that of the square that ``transform`` leads to.

        Raises
        ------
        StoreError
            If the subjects were made with different sizes.
        """
        sizes = {info.root.align.size for info in self.clips}
        if len(sizes) != 1:
            raise StoreError(
                f"Expected one crop size in {self.root}, but got {sorted(sizes)}. "
                "Run 'tclr preprocess' again with one --size for all subjects."
            )
        return sizes.pop()

    def verify_clip(self, info: ClipInfo, block: int = 256) -> None:
        """Check one clip against the schema, reading every value of it.

        Raises
        ------
        StoreError
            At the first thing that is wrong.
        """
        where = f"{self.paths[info.subject]} clip {info.clip}"
        group = self._group(info)
        with reading(self.paths[info.subject], info.clip):
            shapes = {name: dataset.shape for name, dataset in group.items()}
            dtypes = {name: str(dataset.dtype) for name, dataset in group.items()}
        check_clip(shapes, dtypes, info.n_frames, where, has_frames=info.has_frames)
        rising = {"timestamp", "source_frame"}  # checked whole: a fall may lie between two blocks
        for name in sorted(rising):
            check_values(name, self.read(info, name), where)
        for start in range(0, info.n_frames, block):
            stop = min(start + block, info.n_frames)
            for name in set(shapes) - {"frames", "frames_jpeg"} - rising:
                check_values(name, self.read(info, name, start, stop), where)
            face = self.face_mask(info, start, stop)
            found = np.isfinite(self.read(info, "landmarks", start, stop)).all(axis=(1, 2))
            filled = self.read_frames(info, start, stop).any(axis=(1, 2, 3)) if info.has_frames else face
            for what, mask in (("landmarks", found), ("a crop", filled)):
                if (wrong := np.flatnonzero(mask != face)).size:
                    raise StoreError(
                        f"Expected exactly the frames with a face to have {what}, but row {start + wrong[0]} "
                        f"differs in {where}. Run 'tclr preprocess' again."
                    )
