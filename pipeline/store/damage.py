"""Finds what is damaged in subject and part files, and remembers it until it is repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tclr.pipeline.store.attributes import read_checksum
from tclr.pipeline.store.checksums import changed_parts, is_root_changed
from tclr.pipeline.store.guard import check_datasets, open_clip
from tclr.pipeline.store.infos import REPAIR, WHOLE_FILE, ClipInfo, open_file, reading, scan_clips
from tclr.pipeline.store.manifest import known_clips
from tclr.pipeline.store.reader import Store
from tclr.pipeline.system import read_json, remove_quietly, write_json
from tclr.schemas.errors import NewerFormatError, StoreError
from tclr.schemas.store import check_clip, check_values

BLOCK_ROWS = 256
"""Rows that are verified at once."""


@dataclass(frozen=True)
class FileReport:
    """What is wrong with one subject file.

    Attributes
    ----------
    path : Path
        The file.
    damage : dict of str to str
        By clip, or ``WHOLE_FILE``, what is wrong; empty if all is well.
    n_unsealed : int
        Clips without checksums, of an older tclr: only their values could be checked.
    """

    path: Path
    damage: dict[str, str]
    n_unsealed: int = 0


def find_changes(path: Path, clips: Iterable[str], *, frames: bool = True) -> dict[str, str]:
    """Compare clips of a file with their checksums.

    Parameters
    ----------
    path : Path
        A subject or part file.
    clips : iterable of str
        Clips to look at; ``WHOLE_FILE`` is the file's own attributes.
    frames : bool
        Whether crops are looked at, too.

    Returns
    -------
    dict of str to str
        By clip, what is wrong with it.
    """
    damage = {}
    for clip in clips:
        try:
            with open_file(path) as file, reading(path, clip):
                if clip == WHOLE_FILE:
                    changed = ["attributes"] if is_root_changed(file) else []
                    for group in (file, file["clips"]):  # reads what only a copy or a visit would read
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
    """Leave an object alone: HDF5 has read its header when it comes here."""


def _report(path: Path) -> FileReport:
    if not path.is_file():
        reason = f"Expected {path}, since manifest.parquet has clips of it, but it is missing. {REPAIR}"
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
        n_unsealed = sum(read_checksum(open_clip(file, info.clip)) is None for info in infos)
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
    """Verify the subject files of a store one by one: checksums first, then every value against the schema.

    A file that the manifest has clips of, but that is missing, is reported, too. ``progress`` is called with files done
    and files in all.

    Raises
    ------
    StoreError
        If it is no store.
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
    """Which clips of a store were found damaged, by subject, in ``STORE/damage.json``: preprocessing repairs them."""

    def __init__(self, root: Path) -> None:
        self._path = Path(root) / "damage.json"

    def read(self) -> dict[str, list[str]]:
        """Return the damaged clips by subject; an unreadable record holds none."""
        try:
            content = read_json(self._path)["subjects"]
            return {str(subject): [str(clip) for clip in clips] for subject, clips in content.items()}
        except (StoreError, KeyError, TypeError, AttributeError):
            return {}

    def write(self, damaged: dict[str, list[str]]) -> None:
        """Replace the record; without any damage there is none.

        Raises
        ------
        OutputError
            If the store cannot be written.
        """
        if damaged:
            write_json(self._path, {"subjects": damaged})
        else:
            remove_quietly(self._path)
