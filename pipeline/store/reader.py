"""Reads a store folder."""

from __future__ import annotations

import resource
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tclr.pipeline.store.crops import Crops, no_crops, open_crops
from tclr.pipeline.store.guard import check_chunks, open_clip, open_dataset
from tclr.pipeline.store.infos import ClipInfo, open_file, read_clip_infos, reading, scan_clips
from tclr.schemas.errors import StoreError
from tclr.schemas.store import CLIP_FIELDS, FACE_STATUSES

MAX_OPEN_FILES = 64
"""Subject files a reader keeps open; chosen by us: far below the usual limit of 1,024 per process."""
SHARE_OF_OPEN_FILES = 8
"""A reader opens at most this fraction (1/8) of the files that the process may open: there are several readers."""


def _max_open_files() -> int:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_OPEN_FILES if allowed < 0 else max(1, min(MAX_OPEN_FILES, allowed // SHARE_OF_OPEN_FILES))


class OpenFiles:
    """The most recently used subject files, kept open. A pickled copy has none open."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = paths
        self._files: OrderedDict[str, h5py.File] = OrderedDict()
        self._crops: dict[str, dict[str, Crops]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "_files": OrderedDict(), "_crops": {}}

    def group(self, info: ClipInfo) -> h5py.Group:
        """Return the group of a clip."""
        file = self._files.pop(info.subject, None)
        if file is None:
            while len(self._files) >= _max_open_files():
                self._close(next(iter(self._files)))
            file = open_file(self.paths[info.subject])
        self._files[info.subject] = file
        with reading(self.paths[info.subject], info.clip):
            return open_clip(file, info.clip)

    def crops(self, info: ClipInfo) -> Crops:
        """Return the crops of a clip, looked up once while its file is open."""
        known = self._crops.setdefault(info.subject, {})
        if info.subject in self._files and info.clip in known:
            self._files.move_to_end(info.subject)
        else:
            known[info.clip] = open_crops(self.group(info), info)
        return known[info.clip]

    def close(self) -> None:
        """Close all files."""
        for subject in list(self._files):
            self._close(subject)

    def _close(self, subject: str) -> None:
        self._crops.pop(subject, None)
        self._files.pop(subject).close()


class Store:
    """Reads a store folder. Cheap to pickle: open files are not included.

    Parameters
    ----------
    root : Path
        A folder that ``tclr preprocess`` wrote, or one of its files.
    subjects : iterable of str, optional
        Open only these; default all.
    skip_damaged : bool
        Leave out files and clips that cannot be opened instead of raising an error.

    Attributes
    ----------
    clips : list of ClipInfo
        All clips, by subject and name.
    paths : dict of str to Path
        The file of each subject.
    damage : dict of str to str
        What was left out, ``subject/clip`` or ``subject`` for a whole file, with the reason.

    Raises
    ------
    StoreError
        If there is no subject file in it, or one is damaged or of a newer format.

    Examples
    --------
    >>> with Store(Path("store")) as store:
    ...     clip = store.clips[0]
    ...     clip.name, store.read(clip, "timestamp", 0, 3), store.read_crops(clip, 0, 3).shape
    ('F001/T1', array([0.  , 0.04, 0.08]), (3, 32, 32, 3))
    """

    def __init__(self, root: Path, subjects: Iterable[str] | None = None, *, skip_damaged: bool = False) -> None:
        self.root = Path(root)
        self.damage: dict[str, str] = {}
        self.paths: dict[str, Path]
        read = self._read_undamaged if skip_damaged else read_clip_infos
        if self.root.is_file():
            self.clips: list[ClipInfo] = read(self.root)
            self.paths = {info.subject: self.root for info in self.clips}
        else:
            self.paths = self._find_files(subjects)
            self.clips = [info for path in self.paths.values() for info in read(path)]
        self.files = OpenFiles(self.paths)
        for info in self.clips:
            if info.subject not in self.paths:
                raise StoreError(
                    f"Expected the file of subject {info.subject} to have its name, but found none of that name in "
                    f"{self.root / 'subjects'}. Rename it to {info.subject}.h5."
                )

    def _find_files(self, subjects: Iterable[str] | None) -> dict[str, Path]:
        paths = sorted((self.root / "subjects").glob("*.h5"))
        wanted = None if subjects is None else set(subjects)
        found = {path.stem: path for path in paths if wanted is None or path.stem in wanted}
        if not found:
            raise StoreError(
                f"Expected a store with subjects/*.h5, but found none in {self.root}. "
                "Run 'tclr preprocess SOURCE STORE' first."
            )
        return found

    def _read_undamaged(self, path: Path) -> list[ClipInfo]:
        infos, damage = scan_clips(path)
        self.damage |= {f"{path.stem}/{clip}" if clip else path.stem: reason for clip, reason in damage.items()}
        return infos

    @property
    def subjects(self) -> list[str]:
        """Names of all subjects, sorted."""
        return list(self.paths)

    def close(self) -> None:
        """Close all open files."""
        self.files.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def fields(self, info: ClipInfo) -> list[str]:
        """Return the names of the clip's datasets, sorted."""
        with reading(self.paths[info.subject], info.clip):
            return sorted(self.files.group(info))

    def names(self, info: ClipInfo, field_name: str) -> list[str]:
        """Return the column names of ``au``, ``au_intensity`` or ``blendshapes``; empty if the clip lacks it."""
        group = self.files.group(info)
        with reading(self.paths[info.subject], info.clip):
            if field_name not in group:
                return []
            dataset = open_dataset(group, field_name, info.n_frames)
            names = [str(name) for name in dataset.attrs.get("names", ())]
            if len(names) != dataset.shape[1]:
                raise ValueError(f"expected a name for each of {dataset.shape[1]} columns, but got {len(names)}")
            return names

    def read(self, info: ClipInfo, field_name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read rows ``start:stop`` of any dataset but the crops; shape, dtype and units as in ``CLIP_FIELDS``.

        Raises
        ------
        StoreError
            If the clip has no such dataset or it cannot be read.
        """
        group = self.files.group(info)
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
        """Read rows ``start:stop`` of ``au`` or ``au_intensity``, one column per name, in that order.

        Returns
        -------
        ndarray
            (n, A) of the dataset's dtype; unknown (-1 or NaN) for an AU without labels in this clip.
        """
        spec, own = CLIP_FIELDS[field_name], self.names(info, field_name)
        n_rows = len(range(info.n_frames)[start:stop])
        out = np.full((n_rows, len(names)), spec.missing, spec.dtype)
        places = [(column, own.index(name)) for column, name in enumerate(names) if name in own]
        if places:
            columns, sources = (list(side) for side in zip(*places, strict=True))
            out[:, columns] = self.read(info, field_name, start, stop)[:, sources]
        return out

    def read_crops(self, info: ClipInfo, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read crops ``start:stop``; see ``read_crops_at``."""
        return self.read_crops_at(info, np.arange(info.n_frames)[start:stop])

    def read_crops_at(self, info: ClipInfo, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Read some crops, whatever the codec.

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
            If the clip is stored without crops, or a row does not exist or cannot be read.
        """
        rows, path = np.asarray(rows), self.paths[info.subject]
        if len(rows) and not 0 <= rows.min() <= rows.max() < info.n_frames or len(np.unique(rows)) < len(rows):
            raise StoreError(
                f"Expected rows 0 to {info.n_frames - 1} of clip {info.name}, each once, but got {rows.tolist()} for "
                f"{path}. Run 'tclr preprocess' again if the file has changed."
            )
        with reading(path, info.clip):
            crops = self.files.crops(info)
            out = np.empty((len(rows), *crops.shape), np.uint8) if out is None else out
            if len(rows):
                crops.read(rows, out)
            return out

    def face_mask(self, info: ClipInfo, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return (n,) bool for rows ``start:stop``: frames that have landmarks and a crop."""
        return np.isin(self.read(info, "status", start, stop), FACE_STATUSES)

    @property
    def has_frames(self) -> bool:
        """Whether crops are stored of every clip."""
        return all(info.has_frames for info in self.clips)

    def require_frames(self, infos: Iterable[ClipInfo]) -> None:
        """Raise ``StoreError`` if some of these clips were stored with ``--no-frames``."""
        if without := next((info for info in infos if not info.has_frames), None):
            raise no_crops(without, self.root)

    def has_blendshapes(self) -> bool:
        """Return whether every clip has blendshapes."""
        return all(self.names(info, "blendshapes") for info in self.clips)

    def require_blendshapes(self, advice: str) -> None:
        """Raise ``StoreError``, ending in a sentence of advice, if a clip has no blendshapes."""
        if without := next((info for info in self.clips if not self.names(info, "blendshapes")), None):
            raise StoreError(
                f"Expected blendshapes in every clip, but {without.name} of {self.root} has none: only "
                f"the detectors landmarker and mediapipe give them. {advice}"
            )

    def crop_size(self) -> int:
        """Return the side of the crops in pixels; without crops, of the square that ``transform`` maps to.

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
