"""Where the files of a store are, subjects, parts, segments, and what was replaced, and what a file says of itself."""

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
    """Return the path of a subject's file."""
    return store / "subjects" / f"{subject}.h5"


def old_folder(store: Path) -> Path:
    """Return the folder of subject files that another took the place of, or that could not be made again."""
    return store / "old"


def part_path(store: Path, clip: Clip, rows: Rows | None = None) -> Path:
    """Return the path of a clip that is not assembled yet, or of a segment of it."""
    segment = "" if rows is None else f"~{rows[0]:09d}"
    return store / "parts" / clip.subject / f"{clip.clip}{segment}.h5"


def segment_paths(store: Path, clip: Clip) -> list[Path]:
    """Return the files of all segments of a clip that are there, also those of other settings."""
    return sorted(part_path(store, clip).parent.glob(f"{clip.clip}~*.h5"))


def file_attrs(clip: Clip, config: PreprocessConfig) -> RootAttrs:
    """Return the attributes of a file of a clip's subject, without ``complete``."""
    settings = (config.detect, config.align, version("tclr-face"))
    return root_attrs(clip.dataset, clip.subject, *settings, clip.pseudonym_key)


def scan_file(path: Path) -> tuple[list[ClipInfo], dict[str, str]]:
    """List the clips of a file, and why others, or by ``WHOLE_FILE`` all of it, cannot be read."""
    if not path.is_file():
        return [], {}
    infos, damage = scan_clips(path)
    for reason in damage.values():
        logger.warning("%s", reason)
    return infos, damage


def read_infos(path: Path) -> list[ClipInfo]:
    """List the clips of a file but those that cannot be read, since they are then made again."""
    return scan_file(path)[0]


def scan_store(store: Path) -> tuple[dict[str, list[ClipInfo]], dict[str, dict[str, str]]]:
    """List, by subject, the clips of all subject files, and what cannot be read of those that are damaged."""
    scans = {path.stem: scan_file(path) for path in sorted((store / "subjects").glob("*.h5"))}
    return (
        {subject: infos for subject, (infos, _) in scans.items()},
        {subject: damage for subject, (_, damage) in scans.items() if damage},
    )
