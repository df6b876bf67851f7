"""Paths of a store's files, and the clips in them."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path

from tclr.pipeline.preprocessing.pieces import Rows
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo, root_attrs, scan_clips
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.store import RootAttrs

logger = logging.getLogger(__name__)


def subject_path(store: Path, subject: str) -> Path:
    """Return the path of a subject's file.

    >>> subject_path(Path("store"), "F001")
    PosixPath('store/subjects/F001.h5')
    """
    return store / "subjects" / f"{subject}.h5"


def old_folder(store: Path) -> Path:
    """Return the folder of subject files that were replaced, or could not be rebuilt."""
    return store / "old"


def part_path(store: Path, clip: Clip, rows: Rows | None = None) -> Path:
    """Return the path of a clip, or a segment of it, that is not assembled yet.

    >>> from tclr.pipeline.sources import find_clips
    >>> part_path(Path("store"), find_clips(Path("clips"))[0])
    PosixPath('store/parts/F001/T1.h5')
    """
    segment = "" if rows is None else f"~{rows[0]:09d}"
    return store / "parts" / clip.subject / f"{clip.clip}{segment}.h5"


def segment_paths(store: Path, clip: Clip) -> list[Path]:
    """Return the existing files of a clip's segments, including those with other settings."""
    return sorted(part_path(store, clip).parent.glob(f"{clip.clip}~*.h5"))


def file_attrs(clip: Clip, config: PreprocessConfig) -> RootAttrs:
    """Return the attributes of a file of a clip's subject, without ``complete``."""
    settings = (config.detect, config.align, version("tclr-face"))
    return root_attrs(clip.dataset, clip.subject, *settings, clip.pseudonym_key)


def scan_file(path: Path) -> tuple[list[ClipInfo], dict[str, str]]:
    """Return ``scan_clips`` of a file, of which nothing may exist, and log the damage."""
    if not path.is_file():
        return [], {}
    infos, damage = scan_clips(path)
    for reason in damage.values():
        logger.warning("%s", reason)
    return infos, damage


def read_infos(path: Path) -> list[ClipInfo]:
    """List the clips of a file that can be read: the others are rebuilt."""
    return scan_file(path)[0]


def scan_store(store: Path) -> tuple[dict[str, list[ClipInfo]], dict[str, dict[str, str]]]:
    """Return the clips of each subject, and by subject why others cannot be read.

    >>> infos, damage = scan_store(Path("store"))
    >>> {subject: [info.clip for info in its] for subject, its in infos.items()}, damage
    ({'F001': ['T1'], 'F003': ['T1']}, {})
    """
    scans = {path.stem: scan_file(path) for path in sorted((store / "subjects").glob("*.h5"))}
    damage = {subject: damage for subject, (_, damage) in scans.items() if damage}
    return {subject: infos for subject, (infos, _) in scans.items()}, damage
