"""Copies of clips in poorer quality, so that detector and models see them as a poor camera records them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import cv2
import numpy as np

from tclr.pipeline.sources import LABEL_FOLDER, find_clips
from tclr.pipeline.system import replacing
from tclr.pipeline.video import VideoWriter, probe, read_frames
from tclr.schemas.config import DetectConfig

AS_GIVEN = "as given"
QUALITIES: dict[str, tuple[float, int]] = {
    "half resolution": (1 / 2, 18),
    "third resolution": (1 / 3, 18),
    "compressed": (1, 42),
    "half resolution, compressed": (1 / 2, 36),
}
"""Scale of width and height, and constant rate factor of x264: 18 looks like the original, 42 is coarse blocks."""


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


def write_degraded(
    source: Path,
    subjects: Collection[str],
    scale: float,
    crf: int,
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the clips of some subjects, and their label tables, to a new source folder; existing clips are kept.

    ``source`` is a folder of videos with labels (docs/labels.md). ``scale`` is of width and height, 0..1; ``crf`` is
    x264's constant rate factor, 0 (lossless) to 51. ``progress`` is called with clips done and clips in total.

    Examples
    --------
    >>> write_degraded(Path("clips"), ["2D+3D"], 0.5, 18, Path("half"))
    >>> sorted(path.name for path in Path("half").rglob("*.mp4"))
    ['F001_T1.mp4', 'F003_T1.mp4']
    """
    clips = [clip for clip in find_clips(source, "folder") if clip.subject in subjects]
    for done, clip in enumerate(clips):
        progress(done, len(clips))
        path = out / clip.subject / f"{clip.clip}.mp4"
        for table in clip.label_paths:
            copy = out / LABEL_FOLDER / f"{clip.subject}_{clip.clip}.csv"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(table, copy)
        if path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        media = probe(clip, DetectConfig().image_fps)
        size = _even(media.width * scale), _even(media.height * scale)
        with replacing(path) as temporary, VideoWriter(temporary, *size, crf=crf) as writer:
            last: np.ndarray = np.zeros((size[1], size[0], 3), np.uint8)
            for frame in read_frames(media):
                if frame.image is not None:  # one that cannot be decoded keeps its place, so that labels fit
                    last = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
                writer.write(last, frame.timestamp_s)
    progress(len(clips), len(clips))
