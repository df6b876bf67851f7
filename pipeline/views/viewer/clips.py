"""Reads what the viewer shows of a clip: its quality, its AU curves, and its crops as JPEG sprites."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from tclr.pipeline.features import FeatureClips, values_of
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import natural_key
from tclr.schemas.action_units import AU_NAMES
from tclr.schemas.errors import StoreError
from tclr.schemas.features import describe_au_source

SPRITE_FRAMES = 32
SPRITE_COLUMNS = 8
BLOCK_FRAMES = 8
"""Frames read from the store at a time: one chunk of it."""
MAX_TILE_PX = 224
"""Side to which larger crops are reduced. A sprite is then some 200 kB for about a second of video."""


class ViewerClips:
    """The clips that a features folder and its store have in common, by index; safe to use from several threads.

    Raises
    ------
    StoreError
        If either cannot be read, or they have no clip in common.

    Examples
    --------
    >>> clips = ViewerClips(Path("features"), Path("store"))
    >>> [info.name for info in clips.infos], clips.curves(0)["aus"]["AU12"]["label"][:6]
    (['F001/T1', 'F003/T1'], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    """

    def __init__(self, features: Path, store: Path) -> None:
        self._features = FeatureClips(features)
        self._store = Store(store)
        self._lock = threading.Lock()
        infos = [info for info in self._store.clips if (info.subject, info.clip) in self._features.paths]
        self.infos = sorted(infos, key=lambda info: natural_key(info.name))
        self.n_without_crops = len(self._features.paths) - len(self.infos)
        if not self.infos:
            self._store.close()
            raise StoreError(
                f"Expected a store with the clips of {features}, but {store} has none of them. "
                "Give --store the folder that 'tclr embed' read."
            )
        self.au_names = self._features.au_names
        self.tile_px = min(self._store.crop_size(), MAX_TILE_PX)

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            self._store.close()

    def summary(self) -> dict[str, Any]:
        """Return what the page's list shows: all clips with their quality, and the layout of sprites.

        Returns
        -------
        dict
            ``clips``: one dict per clip, with ``subject``, ``clip``, ``n_frames``, ``duration_s``, ``share_ok`` (0..1),
            ``warning`` and the medians ``face_px``, ``sharpness`` and ``score`` (``None`` without a face). ``aus``: a
            dict with ``id``, ``name`` and ``threshold`` per AU, the probability from which it counts as present
            (``None`` unknown). ``au_source``: where AUs come from, in words. ``sprite``: ``frames``, ``columns`` and
            ``tile_px``, or ``None`` for a store without crops. ``n_without_crops``: number of clips that the store
            lacks.
        """
        metadata = self._features.metadata()
        thresholds = metadata.get("au_thresholds", {})
        sprite = {"frames": SPRITE_FRAMES, "columns": SPRITE_COLUMNS, "tile_px": self.tile_px}
        return {
            "clips": [_clip_row(info) for info in self.infos],
            "aus": [_au_row(name, thresholds) for name in self.au_names],
            "au_source": describe_au_source(metadata.get("au_source", "none")),
            "sprite": sprite if self._store.has_frames else None,
            "n_without_crops": self.n_without_crops,
        }

    def curves(self, index: int) -> dict[str, Any]:
        """Return the curves of one clip.

        Returns
        -------
        dict
            Lists of T values: ``timestamp`` in seconds, ``frame`` numbers of the source, and ``status`` names (empty
            strings if the features lack them). ``aus``: for each AU, the lists of ``probability`` (0..1),
            ``intensity`` (0..5) and ``label`` (0/1) that the features have, ``None`` where unknown.
        """
        table = self._table(index, ["status", *self._features.au_columns])
        aus = {}
        for name in self.au_names:
            kinds = {"probability": name, "intensity": f"{name}_r", "label": f"{name}_true"}
            values = {kind: values_of(table, column) for kind, column in kinds.items()}
            aus[name] = {kind: _listed(array) for kind, array in values.items() if np.isfinite(array).any()}
        return {
            "timestamp": table["timestamp"].round(4).tolist(),
            "frame": table["frame"].tolist(),
            "status": table["status"].tolist() if "status" in table else [""] * len(table),
            "aus": aus,
        }

    def times(self, index: int) -> tuple[list[float], list[int]]:
        """Return T timestamps in seconds and T frame numbers of the source."""
        table = self._table(index, [])
        return table["timestamp"].tolist(), table["frame"].tolist()

    def _table(self, index: int, columns: list[str]) -> pd.DataFrame:
        info = self.infos[index]
        table = self._features.read(info.subject, info.clip, ["frame", "timestamp", *columns])
        if len(table) != info.n_frames:
            raise StoreError(
                f"Expected {info.n_frames} frames of {info.name} as in the store, but the features in "
                f"{self._features.root} have {len(table)}. Run 'tclr embed' again."
            )
        return table

    def sprite(self, index: int, block: int) -> bytes:
        """Return up to 32 crops from ``block * 32`` on as one JPEG, in rows of 8 tiles; black where there is no face.

        Raises
        ------
        IndexError
            If the clip has no such block.
        StoreError
            If the store has no crops, or they cannot be read.
        """
        info = self.infos[index]
        first = block * SPRITE_FRAMES
        if not 0 <= first < info.n_frames:
            raise IndexError(f"{info.name} has no block {block}")
        stop = min(first + SPRITE_FRAMES, info.n_frames)
        n_rows = math.ceil((stop - first) / SPRITE_COLUMNS)
        sheet = np.zeros((n_rows * self.tile_px, SPRITE_COLUMNS * self.tile_px, 3), np.uint8)
        for start in range(first, stop, BLOCK_FRAMES):
            with self._lock:
                crops = self._store.read_crops(info, start, min(start + BLOCK_FRAMES, stop))
            for place, crop in enumerate(crops, start - first):
                _put_tile(sheet, place, crop, self.tile_px)
        return cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _put_tile(sheet: np.ndarray, place: int, crop: np.ndarray, side_px: int) -> None:
    """Draw a crop on a sheet, in place."""
    top, left = place // SPRITE_COLUMNS * side_px, place % SPRITE_COLUMNS * side_px
    if len(crop) != side_px:
        crop = cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA)
    sheet[top : top + side_px, left : left + side_px] = crop


def _au_row(name: str, thresholds: dict[str, float]) -> dict[str, Any]:
    return {"id": name, "name": AU_NAMES.get(int(name[2:]), ""), "threshold": thresholds.get(name)}


def _clip_row(info: ClipInfo) -> dict[str, Any]:
    medians = {name: getattr(info.attrs, f"median_{name}") for name in ("face_px", "sharpness", "score")}
    return {
        "subject": info.subject,
        "clip": info.clip,
        "n_frames": info.n_frames,
        "duration_s": round(info.attrs.duration_s, 3),
        "share_ok": info.attrs.n_ok / max(info.n_frames, 1),
        **{name: round(value, 3) if math.isfinite(value) else None for name, value in medians.items()},
        "warning": info.attrs.warning,
    }


def _listed(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 3) for value in values.tolist()]
