"""Finds damage in subject and part files, and records it until it is repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tclr.pipeline.store.checksums import changed_parts, is_root_changed, is_sealed
from tclr.pipeline.store.guard import check_datasets, open_clip
from tclr.pipeline.store.infos import REPAIR, WHOLE_FILE, ClipInfo, open_file, reading, scan_clips
from tclr.pipeline.store.manifest import known_clips
from tclr.pipeline.store.reader import Store
from tclr.pipeline.system import read_json, remove_quietly, write_json
from tclr.schemas.errors import NewerFormatError, StoreError
from tclr.schemas.store import check_clip, check_values

BLOCK_ROWS = 256
"""Rows verified at a time."""


@dataclass(frozen=True)
class FileReport:
    """What is wrong with one subject file."""

    path: Path
    damage: dict[str, str]  # by clip, or ``WHOLE_FILE``, what is wrong
    n_unsealed: int = 0  # clips without checksums, written by an older tclr: only their values could be checked


def find_changes(path: Path, clips: Iterable[str], *, frames: bool = True) -> dict[str, str]:
    """Compare clips of a file with their checksums.

    Parameters
    ----------
    path : Path
        A subject or part file.
    clips : iterable of str
        Their names; ``WHOLE_FILE`` is the file's own attributes.
    frames : bool
        Whether to compare crops, too.

    Returns
    -------
    dict of str to str
        By name, what is wrong; empty if nothing is.

    Examples
    --------
    >>> find_changes(Path("store/subjects/F001.h5"), ["T1"])
    {}
    """
    damage = {}
    for clip in clips:
        try:
            with open_file(path) as file, reading(path, clip):
                if clip == WHOLE_FILE:
                    changed = ["attributes"] if is_root_changed(file) else []
                    for group in (file, file["clips"]):  # reads tables that otherwise only a visit reads
                        h5py.h5o.get_info(group.id)
                else:
                    group = open_clip(file, clip)
                    check_datasets(group)
                    group.visititems(_ignore)
                    changed = changed_parts(group, frames=frames)
            require_unchanged(path, clip, changed)
        except StoreError as error:
            damage[clip] = str(error)
    return damage


def require_unchanged(path: Path, clip: str, changed: Sequence[str]) -> None:
    """Raise ``StoreError`` if parts of a clip, or of ``WHOLE_FILE``, have changed."""
    if changed:
        where = f"{path} clip {clip}" if clip else str(path)
        raise StoreError(
            f"Expected the bytes that were written, but {', '.join(changed)} changed since in {where}. {REPAIR}"
        )


def _ignore(name: str, node: object) -> None:
    """Do nothing: HDF5 has read the object's header by now."""


def _report(path: Path) -> FileReport:
    if not path.is_file():
        reason = f"Expected {path}, which has clips in manifest.parquet, but it is missing. {REPAIR}"
        return FileReport(path, {WHOLE_FILE: reason})
    try:
        infos, damage = scan_clips(path)
    except NewerFormatError as error:
        return FileReport(path, {WHOLE_FILE: str(error)})
    if WHOLE_FILE in damage:
        return FileReport(path, damage)
    damage |= find_changes(path, [WHOLE_FILE, *(info.clip for info in infos)])
    with Store(path, skip_damaged=True) as store:
        for info in infos:
            try:
                if info.clip not in damage:
                    verify_clip(store, info)
            except StoreError as error:
                damage[info.clip] = str(error)
    with open_file(path) as file, reading(path):
        n_unsealed = sum(not is_sealed(open_clip(file, info.clip)) for info in infos)
    return FileReport(path, damage, n_unsealed)


def verify_clip(store: Store, info: ClipInfo) -> None:
    """Check one clip against the schema, reading every value; raises ``StoreError`` at the first fault."""
    path = store.paths[info.subject]
    where = f"{path} clip {info.clip}"
    with reading(path, info.clip):
        group = store.files.group(info)
        shapes = {name: dataset.shape for name, dataset in group.items()}
        dtypes = {name: str(dataset.dtype) for name, dataset in group.items()}
    check_clip(shapes, dtypes, info.n_frames, where, has_frames=info.has_frames)
    rising = {"timestamp", "source_frame"}  # checked whole: a fall may lie between two blocks
    for name in sorted(rising):
        check_values(name, store.read(info, name), where)
    for start in range(0, info.n_frames, BLOCK_ROWS):
        rows = (start, min(start + BLOCK_ROWS, info.n_frames))
        for name in set(shapes) - {"frames", "frames_jpeg"} - rising:
            check_values(name, store.read(info, name, *rows), where)
        face = store.face_mask(info, *rows)
        found = np.isfinite(store.read(info, "landmarks", *rows)).all(axis=(1, 2))
        filled = store.read_crops(info, *rows).any(axis=(1, 2, 3)) if info.has_frames else face
        for what, mask in (("landmarks", found), ("a crop", filled)):
            if (wrong := np.flatnonzero(mask != face)).size:
                raise StoreError(
                    f"Expected exactly the frames with a face to have {what}, but row {start + wrong[0]} "
                    f"differs in {where}. Run 'tclr preprocess' again."
                )


def find_damage(root: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[FileReport]:
    """Verify the subject files of a store: checksums, then every value.

    A file that is missing although the manifest has clips of it is reported, too. ``progress`` is called with the
    numbers of files done and in all.

    Raises
    ------
    StoreError
        If it is not a store.

    Examples
    --------
    >>> [(report.path.name, report.damage) for report in find_damage(Path("store"))]
    [('F001.h5', {}), ('F003.h5', {})]
    """
    folder = Path(root) / "subjects"
    paths = sorted({*folder.glob("*.h5"), *(folder / f"{subject}.h5" for subject in known_clips(root))})
    if not paths:
        raise StoreError(f"Expected a store with subjects/*.h5, but found none in {root}. Run 'tclr preprocess' first.")
    progress(0, len(paths))
    for done, path in enumerate(paths, 1):
        report = _report(path)
        progress(done, len(paths))
        yield report


class DamageRecord:
    """The clips found damaged, by subject, in ``STORE/damage.json``: preprocessing repairs them.

    >>> record = DamageRecord(Path("features"))
    >>> record.write({"F001": ["T1"]})
    >>> record.read()
    {'F001': ['T1']}
    >>> record.write({})
    """

    def __init__(self, root: Path) -> None:
        self._path = Path(root) / "damage.json"

    def read(self) -> dict[str, list[str]]:
        """Return the damaged clips by subject; none if the record cannot be read."""
        try:
            content = read_json(self._path)["subjects"]
            return {str(subject): [str(clip) for clip in clips] for subject, clips in content.items()}
        except (StoreError, KeyError, TypeError, AttributeError):
            return {}

    def write(self, damaged: dict[str, list[str]]) -> None:
        """Replace the record, or delete it if nothing is damaged; raises ``OutputError`` if it cannot be written."""
        if damaged:
            write_json(self._path, {"subjects": damaged})
        else:
            remove_quietly(self._path)
