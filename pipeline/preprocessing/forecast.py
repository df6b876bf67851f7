"""The disk that a run will take, estimated before its work."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tclr.pipeline.sources import Clip
from tclr.pipeline.video import estimate_frames
from tclr.schemas.config import AlignConfig, PreprocessConfig
from tclr.schemas.errors import InputError

CROP_BYTES_PER_PIXEL = {"zstd": 1.85, "gzip": 1.85, "lz4": 2.35, "none": 3.1, "jpeg": 0.295}
"""By codec, of crops of 224 px and quality 95: means of 1,171 frames with a face, in 10 videos."""
SMALL_CROPS = 0.2
"""Bytes per pixel grow as the inverse of the crop's side to this power: crops of 112 px take 14% more per pixel."""
OTHER_BYTES = 5_500
"""Per frame: landmarks, blendshapes and measures."""
THRIFT: dict[str, dict[str, Any]] = {
    "--codec jpeg": {"codec": "jpeg"},
    "--size 112": {"size": 112},
    "--no-frames": {"frames": False},
}
"""Settings that take less disk."""
MOST_HEADERS = 64
"""Clips whose headers are read to estimate the number of frames; the others count as their mean."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DiskUse:
    """The disk that a run will take."""

    n_frames: int
    """About; 0 if no header states it."""
    frame_bytes: float
    thrift: dict[str, float]
    """Bytes per frame with other settings that take half or less, by option."""
    free_bytes: int
    """Free on the store's disk."""

    @property
    def n_bytes(self) -> float:
        """Bytes in all."""
        return self.n_frames * self.frame_bytes

    def describe(self) -> str:
        """Return one line."""
        options = ", ".join(f"{option} {format_bytes(n)}" for option, n in self.thrift.items())
        less = f" Less: {options}." if options else ""
        per_frame = f"{format_bytes(self.frame_bytes)} per frame"
        if not self.n_frames:
            return f"Disk: about {per_frame}.{less}"
        return f"Disk: about {format_bytes(self.n_bytes)} for {self.n_frames:,} frames, {per_frame}.{less}"

    def check(self, store: Path) -> None:
        """Warn if the disk has less room."""
        if self.n_bytes > self.free_bytes:
            logger.warning(
                "Expected about %s of free disk, but only %s are free at %s. The run ends when the disk is full; what "
                "is done by then stays.",
                format_bytes(self.n_bytes),
                format_bytes(self.free_bytes),
                store,
            )


def frame_bytes(align: AlignConfig) -> float:
    """Return about how many bytes a frame with a face takes in a store.

    >>> round(frame_bytes(AlignConfig()), -3), round(frame_bytes(AlignConfig(codec="jpeg")), -3)
    (98000.0, 20000.0)
    """
    if not align.frames:
        return OTHER_BYTES
    per_pixel = CROP_BYTES_PER_PIXEL[align.codec] * (AlignConfig().size / align.size) ** SMALL_CROPS
    return min(per_pixel, CROP_BYTES_PER_PIXEL["none"]) * align.size**2 + OTHER_BYTES


def forecast_disk_use(store: Path, clips: Sequence[Clip], config: PreprocessConfig) -> DiskUse:
    """Estimate the disk that clips will take; of several people in a clip one is counted."""
    n_read = min(len(clips), MOST_HEADERS)
    counts = []
    for clip in (clips[k * len(clips) // n_read] for k in range(n_read)):
        with suppress(InputError, OSError):  # the clip fails on its worker, with this reason
            counts.append(estimate_frames(clip, config.detect, config.limits))
    known = [count for count in counts if count]
    n_frames = round(sum(known) / len(known) * len(clips)) if known else 0
    now = frame_bytes(config.align)
    others = {option: frame_bytes(config.align.model_copy(update=change)) for option, change in THRIFT.items()}
    thrift = {option: n_bytes for option, n_bytes in others.items() if n_bytes <= now / 2}
    return DiskUse(n_frames, now, thrift, shutil.disk_usage(store).free)


def format_bytes(n_bytes: float) -> str:
    """Return a size in powers of ten.

    >>> format_bytes(98_300), format_bytes(4.13e9)
    ('98 kB', '4.1 GB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}" if n_bytes < 10 * size else f"{n_bytes / size:.0f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"
