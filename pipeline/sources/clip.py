"""What a source adapter returns: clips, and labels by frame number."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tclr.pipeline.sources.listing import numbered_images, require_file
from tclr.pipeline.sources.pseudonyms import Pseudonyms
from tclr.pipeline.system import encodable
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.errors import InputError


@dataclass(frozen=True)
class Labels:
    """AU occurrence by frame number."""

    names: tuple[str, ...]
    """Names of the A columns, such as ``AU01``."""
    frames: np.ndarray
    """(N,) int64: the source's frame numbers, increasing."""
    occurrence: np.ndarray
    """(N, A) int8: 1 present, 0 absent, -1 unknown."""
    intensity: np.ndarray | None = None
    """(N, A) float32: 0..5, NaN unknown; ``None`` if the dataset codes no intensity."""

    def at(self, source_frames: np.ndarray) -> np.ndarray:
        """Return (T, A) int8 occurrence at the given frame numbers; -1 for frames without labels."""
        return self._look_up(source_frames, self.occurrence, UNKNOWN)

    def intensity_at(self, source_frames: np.ndarray) -> np.ndarray:
        """Return (T, A) float32 intensity at the given frame numbers; NaN where unknown."""
        intensity = np.full(self.occurrence.shape, np.nan, np.float32) if self.intensity is None else self.intensity
        return self._look_up(source_frames, intensity, np.nan)

    def _look_up(self, source_frames: np.ndarray, values: np.ndarray, missing: float) -> np.ndarray:
        rows = np.full((len(source_frames), len(self.names)), missing, values.dtype)
        if len(self.frames):
            place = np.searchsorted(self.frames, source_frames).clip(max=len(self.frames) - 1)
            known = self.frames[place] == source_frames
            rows[known] = values[place[known]]
        return rows


@dataclass(frozen=True, eq=False)
class FramesInMemory:
    """The T frames of a recording that is in no file; ``digest`` identifies them.

    >>> frames = FramesInMemory((np.zeros((2, 4, 3), np.uint8),) * 3, (0.0, 0.5, 1.0))
    >>> frames.fps, frames.size
    (2.0, (4, 2))
    """

    images: tuple[np.ndarray, ...]
    """T images, each (H, W, 3) uint8 RGB, all of one size."""
    times_s: tuple[float, ...]
    """T times from the start of the recording, which never decrease."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.images[0].shape[1], self.images[0].shape[0]

    @property
    def fps(self) -> float:
        """Mean frame rate; 0 if there is no time between frames."""
        return (len(self.times_s) - 1) / self.times_s[-1] if self.times_s[-1] > 0 else 0.0

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of sizes, times and pixels."""
        digest = hashlib.sha256(repr((self.size, self.times_s)).encode())
        for image in self.images:
            digest.update(np.ascontiguousarray(image).data)
        return digest.digest()


@dataclass(frozen=True)
class Clip:
    """One continuous recording of one subject.

    ``dataset``, ``subject`` and ``clip`` are safe as file names.
    """

    dataset: str
    subject: str
    clip: str
    path: Path
    """A video file, a still image, or a folder of numbered images."""
    source: str
    """``path`` relative to the source folder, as the store records it; bytes that are not UTF-8 are escaped. Under
    pseudonyms it is ``name``."""
    image_fps: float | None = None
    """Frames per second of an image sequence, if the dataset fixes it; videos have timestamps."""
    label_paths: tuple[Path, ...] = ()
    """AU label files; part of the clip's fingerprint."""
    read_labels: Callable[[tuple[Path, ...]], Labels] | None = field(default=None, compare=False)
    """Function that reads ``label_paths``."""
    stills: tuple[Path, ...] = ()
    """Unrelated images in place of a recording, numbered from ``first``."""
    first: int = 0
    start_s: float = 0.0
    """Start and end of the part of a video to read, in seconds of the video; the end is excluded."""
    end_s: float = math.inf
    pseudonyms: Pseudonyms | None = field(default=None, compare=False)
    """The pseudonyms that its names come from, if any."""
    memory: FramesInMemory | None = field(default=None, compare=False, repr=False)
    """The frames themselves, if ``path`` is only a name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", encodable(self.source))

    @property
    def pseudonym_key(self) -> str:
        """Identifier of the key of its pseudonyms; empty if its names are real."""
        return self.pseudonyms.check if self.pseudonyms else ""

    def pseudonymised(self, pseudonyms: Pseudonyms) -> Clip:
        """Return the clip under pseudonyms; its files stay the same."""
        subject, clip = pseudonyms.subject(self.subject), pseudonyms.clip(self.clip)
        return replace(self, subject=subject, clip=clip, source=f"{subject}/{clip}", pseudonyms=pseudonyms)

    def still_name(self, path: Path) -> str:
        """Return the file name that the store records for a still image."""
        return self.pseudonyms.file(encodable(path.name)) if self.pseudonyms else path.name

    def _seal(self, digest: bytes) -> str:
        return self.pseudonyms.seal(digest) if self.pseudonyms else digest.hex()

    @property
    def key(self) -> tuple[str, str]:
        """``(subject, clip)``."""
        return self.subject, self.clip

    @property
    def name(self) -> str:
        """``subject/clip``, as messages show it."""
        return f"{self.subject}/{self.clip}"

    def files(self) -> list[Path]:
        """Return the clip's files, labels last."""
        if self.stills:
            media = list(self.stills)
        elif self.path.is_dir():
            media = [path for _, path in numbered_images(self.path)]
        else:
            media = [self.path]
        return [*media, *self.label_paths]

    def _span(self) -> bytes:
        """Return the part of the video to read, as bytes; empty for the whole video."""
        whole = self.start_s == 0 and self.end_s == math.inf
        return b"" if whole else f"{self.start_s}\0{self.end_s}\0".encode()

    def fingerprint(self) -> str:
        """Return a cheap digest of the span and the files' names, sizes and modification times.

        For a clip under pseudonyms it is keyed and reveals nothing about the names.
        """
        digest = hashlib.sha256(self._span())
        if self.memory is not None:
            return self._seal(self.memory.digest)[:32]
        try:
            files = self.files()
        except OSError:  # the folder is gone
            files = [self.path]
        for path in files:
            try:
                status = path.stat()
            except OSError:
                digest.update(f"{encodable(path.name)}\0missing\n".encode())
                continue
            digest.update(f"{encodable(path.name)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return self._seal(digest.digest())[:32]

    def sha256(self) -> str:
        """Return the SHA-256 of the contents of the clip's files, in order, whatever their location.

        For a clip under pseudonyms it is keyed: without the key nobody can confirm which files these are.
        """
        digest = hashlib.sha256(self._span())
        if self.memory is not None:
            return self._seal(self.memory.digest)
        try:
            for path in self.files():
                require_file(path)
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            where = error.filename or self.path
            raise InputError(f"Cannot read {where}: {error.strerror}. Check the file, then run again.") from error
        return self._seal(digest.digest())
