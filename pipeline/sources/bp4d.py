"""BP4D: numbered JPEG frames at 25 frames/s and AU occurrence by frame number.

::

    SOURCE/[Sequences(2D+3D)/|2D+3D/]F001/T1/0286.jpg    or F001/T1.mp4, whose first frame is number 0
    SOURCE/AUCoding/AU_OCC/F001_T1.csv      first row AU numbers (first cell 0), first column frame number

9 means unknown. Source: Zhang et al., "BP4D-Spontaneous", Image and Vision Computing 2014.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from tclr.pipeline.sources.clip import Clip, Labels
from tclr.pipeline.sources.listing import MAX_FRAME, is_video, numbered_images, reading_table
from tclr.schemas.action_units import AU_NAMES, UNKNOWN, au_column
from tclr.schemas.errors import InputError

FPS = 25.0
SUBJECT = re.compile(r"[FM]\d{3}")
TASK = re.compile(r"T\d+")
FRAME_FOLDERS = ("2D+3D", "Sequences(2D+3D)", "Sequences(2D+3D)/2D+3D", ".")
LABEL_FOLDERS = ("AUCoding/AU_OCC", "AU_OCC", "AUCoding")


def _frame_root(source: Path) -> Path | None:
    """Return the folder that contains the subjects' folders; ``None`` if there is none."""
    for name in FRAME_FOLDERS:
        folder = source / name
        if folder.is_dir() and any(SUBJECT.fullmatch(path.name) and path.is_dir() for path in folder.iterdir()):
            return folder
    return None


def looks_like_bp4d(source: Path) -> bool:
    """Return whether a folder has BP4D's layout: subjects F001.. with tasks T1.. and an AU coding folder."""
    has_labels = any((source / name).is_dir() for name in LABEL_FOLDERS)
    return has_labels and _frame_root(source) is not None


def read_occurrence(paths: tuple[Path, ...]) -> Labels:
    """Read a task's ``AU_OCC`` file: the AUs that it codes for at least one frame."""
    (path,) = paths
    with reading_table(path), path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    try:
        table = np.array([[int(cell) for cell in row] for row in rows], np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"Cannot read {path} as rows of whole numbers, all of the same length: {error}.") from error
    if table.ndim != 2 or len(table) < 2:
        raise InputError(f"Expected a row of AU numbers, then one row per frame, but got {len(rows)} rows in {path}.")
    numbers, frames, codes = table[0, 1:], table[1:, 0], table[1:, 1:]
    if (strange := codes[~np.isin(codes, (0, 1, 9))]).size:
        raise InputError(f"Expected codes 0, 1 or 9, but got {strange[0]} in {path}.")
    if not ((frames >= 0) & (frames < MAX_FRAME)).all():
        raise InputError(f"Expected frame numbers of 0 or more, but got {frames.min()} to {frames.max()} in {path}.")
    order = np.argsort(frames, kind="stable")
    if (np.diff(frames[order]) == 0).any():
        raise InputError(f"Expected each frame number once, but one appears twice in {path}.")
    kept = [i for i, number in enumerate(numbers) if int(number) in AU_NAMES and (codes[:, i] != 9).any()]
    occurrence = np.where(codes == 9, UNKNOWN, codes == 1).astype(np.int8)[order][:, kept]
    return Labels(tuple(au_column(int(numbers[i])) for i in kept), frames[order], occurrence)


def _label_paths(source: Path, subject: str, task: str) -> tuple[Path, ...]:
    for folder in LABEL_FOLDERS:
        path = source / folder / f"{subject}_{task}.csv"
        if path.is_file():
            return (path,)
    return ()


def find_bp4d(source: Path) -> list[Clip]:
    """List BP4D's clips: the tasks of each subject."""
    root = _frame_root(source)
    clips = []
    for path in sorted(root.glob("*/*")) if root else []:
        subject, task = path.parent.name, path.stem if is_video(path) else path.name
        frames = is_video(path) or (path.is_dir() and bool(numbered_images(path)))
        if SUBJECT.fullmatch(subject) and TASK.fullmatch(task) and frames:
            relative = path.relative_to(source).as_posix()
            labels = _label_paths(source, subject, task)
            clips.append(Clip("bp4d", subject, task, path, relative, FPS, labels, read_occurrence))
    return clips
