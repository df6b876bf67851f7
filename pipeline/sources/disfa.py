"""DISFA: one video per subject and camera at 20 frames/s, AU intensity by frame.

::

    SOURCE/Videos_LeftCamera/LeftVideoSN001_comp.avi      clip left
    SOURCE/Videos_RightCamera/RightVideoSN001_comp.avi    clip right
    SOURCE/ActionUnit_Labels/SN001/SN001_au1.txt          lines frame,intensity; frames from 1, intensity 0..5

Frame n of the labels is frame n - 1 of the video. An AU counts as present at intensity 2 or more, as in the
literature. Source: Mavadati et al., "DISFA: A Spontaneous Facial Action Intensity Database", IEEE TAC 2013.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tclr.pipeline.sources.clip import Clip, Labels
from tclr.pipeline.sources.listing import MAX_FRAME, is_video, reading_table
from tclr.schemas.action_units import PRESENT_FROM, UNKNOWN, au_column
from tclr.schemas.errors import InputError

CAMERAS = {"left": "Videos_LeftCamera", "right": "Videos_RightCamera"}
VIDEO = re.compile(r"(?:Left|Right)Video(SN\d{3})", re.IGNORECASE)
LABEL_FOLDER = "ActionUnit_Labels"
LABEL_FILE = re.compile(r"SN\d{3}_au(\d+)\.txt", re.IGNORECASE)


def looks_like_disfa(source: Path) -> bool:
    """Return whether a folder has DISFA's layout: a camera folder with videos named as in DISFA."""
    folders = [source / name for name in CAMERAS.values()]
    return any(VIDEO.match(path.name) for folder in folders if folder.is_dir() for path in folder.iterdir())


def _read_column(path: Path) -> dict[int, float]:
    """Return one AU's intensity by video frame."""
    column: dict[int, float] = {}
    with reading_table(path):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    for line in lines:
        if not line.strip():
            continue
        try:
            number, intensity = line.split(",")
            frame, value = int(number) - 1, float(intensity)
        except ValueError as error:
            raise InputError(f"Expected lines 'frame,intensity', but got {line!r} in {path}.") from error
        if not 0 <= value <= 5 or not 0 <= frame < MAX_FRAME or frame in column:
            raise InputError(f"Expected frames from 1, each once, with intensity 0 to 5, but got {line!r} in {path}.")
        column[frame] = value
    return column


def read_intensity(paths: tuple[Path, ...]) -> Labels:
    """Read intensity from one subject's files and derive occurrence; frames without a line are unknown."""
    named = [(LABEL_FILE.fullmatch(path.name), path) for path in paths]
    columns = {int(found[1]): _read_column(path) for found, path in named if found}
    numbers = sorted(columns)
    frames = np.array(sorted({frame for column in columns.values() for frame in column}), np.int64)
    intensity = np.full((len(frames), len(numbers)), np.nan, np.float32)
    for place, number in enumerate(numbers):
        known = columns[number]
        intensity[:, place] = [known.get(int(frame), np.nan) for frame in frames]
    occurrence = np.where(np.isnan(intensity), UNKNOWN, intensity >= PRESENT_FROM).astype(np.int8)
    return Labels(tuple(au_column(number) for number in numbers), frames, occurrence, intensity)


def find_disfa(source: Path) -> list[Clip]:
    """List DISFA's clips: ``left`` and ``right`` of each subject."""
    clips = []
    for camera, name in CAMERAS.items():
        folder = source / name
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            found = VIDEO.match(path.name)
            if found and is_video(path):
                subject = found.group(1).upper()
                labels = tuple(sorted((source / LABEL_FOLDER / subject).glob("*.txt")))
                relative = path.relative_to(source).as_posix()
                clips.append(Clip("disfa", subject, camera, path, relative, None, labels, read_intensity))
    return clips
