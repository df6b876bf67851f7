"""The rows of a store and of features that belong to the frames of a video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from tclr.pipeline.features import list_files
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import read_metadata, read_pandas, read_schema
from tclr.pipeline.views.overlay.drawing import Colour, FaceView
from tclr.schemas.errors import InputError, StoreError
from tclr.schemas.features import check_columns
from tclr.schemas.store import NO_TRACK, Status

BLOCK = 256
"""Rows of landmarks read at once: those of an hour would take half a gigabyte."""


@dataclass(frozen=True)
class ClipSource:
    """A clip of a store or of features, and what identifies its video."""

    name: str
    """``subject/clip``."""
    path: str
    """Path of the video, relative to the source folder."""
    sha256: str
    """Hash of its contents, and of its labels if the clip has some."""
    fps: float


class ClipRows:
    """The T rows of one clip: (T,) ``frame`` numbers, ``timestamp`` in s, ``status`` names and ``track`` (-1: none).

    ``size`` is the width and height of the video in pixels, ``None`` without a store. ``aus`` are the names of its
    AUs, empty without features.
    """

    def __init__(self, source: ClipSource, store: Store | None, info: ClipInfo | None, features: Path | None) -> None:
        self.source, self._store, self._info = source, store, info
        self._block = (-1, np.empty(0))
        self.frame: np.ndarray
        self.size: tuple[int, int] | None = None
        thresholds = {} if features is None else read_metadata(features).get("au_thresholds", {})
        table = None if features is None else _read_features(features, thresholds)
        if store is not None and info is not None:
            self._take_faces(store, info)
            if table is not None and not np.array_equal(table["frame"], self.frame):
                raise StoreError(
                    f"Expected the store's frame numbers in {features}, but those of {source.name} differ. "
                    "Run 'tclr embed' on this store."
                )
        elif table is not None:
            self.frame, self.timestamp = table["frame"].to_numpy(), table["timestamp"].to_numpy()
            self.status = table["status"].astype("str").fillna("").to_numpy()
            self.track = table["track"].fillna(NO_TRACK).to_numpy(np.int64)
            self._bbox = np.full((len(table), 4), np.nan)
        if table is not None and (store is None or table["yaw"].notna().any()):  # truer than the detector's own
            self._pose = table[["pitch", "yaw", "roll"]].to_numpy(float, na_value=np.nan)
        self._take_aus(table, thresholds)
        self._row = {int(number): row for row, number in enumerate(self.frame)}

    def _take_faces(self, store: Store, info: ClipInfo) -> None:
        self.size = info.attrs.width, info.attrs.height
        self.frame, self.timestamp = store.read(info, "source_frame"), store.read(info, "timestamp")
        self.status = np.array([Status(value).name for value in store.read(info, "status")])
        self.track = store.read(info, "track").astype(np.int64)
        self._bbox, self._pose = store.read(info, "bbox"), store.read(info, "pose")

    def _take_aus(self, table: pd.DataFrame | None, thresholds: dict[str, float]) -> None:
        self.aus = tuple(name for name in thresholds if table is not None and name in table)
        known = pd.DataFrame(index=range(len(self.frame))) if table is None else table
        self._threshold = np.array([thresholds[name] for name in self.aus], np.float32)
        self._probability = known[list(self.aus)].to_numpy(np.float32, na_value=np.nan)
        self._present = np.where(np.isnan(self._probability), np.nan, self._probability >= self._threshold)
        self._true = known[[f"{name}_true" for name in self.aus]].to_numpy(float, na_value=np.nan)

    def row(self, number: int) -> int | None:
        """Return the row of a frame number, ``None`` if the clip has none."""
        return self._row.get(number)

    def _landmarks(self, row: int) -> np.ndarray | None:
        """Return (K, 2) in source pixels, ``None`` without a store or a face."""
        if self._store is None or self._info is None:
            return None
        start = row // BLOCK * BLOCK
        if self._block[0] != start:
            self._block = start, self._store.read(self._info, "landmarks", start, start + BLOCK)
        points = self._block[1][row - start, :, :2]
        return points if np.isfinite(points).all() else None

    def view(self, row: int, colour: Colour, scale: float, landmarks: bool) -> FaceView:
        """Return a row's face for a picture of ``scale`` times the source's size."""
        box, pose = self._bbox[row], self._pose[row]
        points = self._landmarks(row) if landmarks else None
        return FaceView(
            name=self.source.name,
            status=str(self.status[row]),
            colour=colour,
            bbox=scale_points(box, scale) if np.isfinite(box).all() else None,
            landmarks=None if points is None else scale_points(points, scale),
            pose=pose if np.isfinite(pose).all() else None,
            rotation=0 if self._info is None else self._info.attrs.rotation,
            aus=self.aus,
            probability=self._probability[row],
            present=self._present[row],
            true=self._true[row],
            threshold=self._threshold,
        )


def _read_features(path: Path, aus: Iterable[str]) -> pd.DataFrame:
    """Return the columns to draw. AUs that the file lacks are left out; other missing columns are null."""
    schema = read_schema(path)
    check_columns(schema, str(path))
    aus = [name for name in aus if name in schema.names]
    wanted = ["frame", "timestamp", "status", "track", "pitch", "yaw", "roll", *aus, *(f"{name}_true" for name in aus)]
    return read_pandas(path, [name for name in wanted if name in schema.names]).reindex(columns=wanted)


def scale_points(points: np.ndarray, scale: float) -> np.ndarray:
    """Return positions in a picture of ``scale`` times the size; centres of pixels are whole numbers."""
    return (points + 0.5) * scale - 0.5


def open_clips(video: Path, store: Store | None, features: Path | None, wanted: str | None) -> list[ClipRows]:
    """Return the clips of a video from a store, from features, or from both.

    They are the ``wanted`` clip (``subject/clip``) or else all clips whose source path ends the video's path; if there
    are none, those with the video's contents.

    Raises
    ------
    InputError
        If the video does not exist or has no clip.
    StoreError
        If features and store differ in their frames.
    """
    if not video.exists():
        raise InputError(f"Expected a video, but found nothing at {video}. Check the path.")
    infos = {info.name: info for info in store.clips} if store is not None else {}
    files = {f"{subject}/{file.stem}": file for subject, file in list_files(features)} if features is not None else {}
    known = [ClipSource(n, of.attrs.source, of.attrs.source_sha256, of.attrs.fps) for n, of in infos.items()]
    known = known or [_clip_source(name, read_metadata(file), features) for name, file in files.items()]
    chosen = _choose_by_name(known, wanted) if wanted is not None else _choose_by_video(known, video)
    return [ClipRows(one, store, infos.get(one.name), files.get(one.name)) for one in chosen]


def _clip_source(name: str, facts: Mapping[str, Any], features: Path | None) -> ClipSource:
    try:
        return ClipSource(name, str(facts["source"]), str(facts["source_sha256"]), float(facts["fps"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"Expected source and rate of clip {name} in the features, but got {error!r} in {features}. "
            "Run 'tclr embed' again."
        ) from error


def _choose_by_name(known: Sequence[ClipSource], wanted: str) -> list[ClipSource]:
    found = [one for one in known if one.name == wanted]
    if not found:
        names = ", ".join(sorted(one.name for one in known)[:12])
        raise InputError(f"Unknown clip {wanted!r}. Known clips: {names}. Give one as SUBJECT/CLIP.")
    return found


def _choose_by_video(known: Sequence[ClipSource], video: Path) -> list[ClipSource]:
    parts = video.resolve().parts
    ends = {one.path: PurePosixPath(one.path).parts for one in known}
    found = [one for one in known if parts[-len(ends[one.path]) :] == ends[one.path]]
    if not found and video.is_file():
        digest = Clip("folder", "video", "video", video, video.name).sha256()
        found = [one for one in known if one.sha256 == digest]
    if not found:
        paths = ", ".join(sorted(ends)[:6])
        raise InputError(
            f"Expected a video that the clips were made from ({paths}), but got {video}. "
            "If it is one of them under another name, name its clip: --clip SUBJECT/CLIP."
        )
    return found
