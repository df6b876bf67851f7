"""Chooses the clips and frames that the report shows: the worst ones, and typical ones beside them."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.store import Status

FACES_PER_CLIP = 12
WORST_FRAMES = 24
"""Most pictures of the store's worst frames."""
WORST_PER_CLIP = 3
"""Most of them from one clip, so that a single bad clip does not fill the sheet."""
MAX_CLIPS = 24
"""Most clips with pictures and timelines. These numbers keep the page below some 15 MB."""
THUMBNAIL_PX = 112


@dataclass(frozen=True)
class SheetPicture:
    """A picture of a contact sheet, as a data URL; ``worst`` if its score is among the lowest."""

    caption: str
    picture: str
    worst: bool


def share_ok(row: dict[str, Any]) -> float:
    """Return the share 0..1 of frames with status ok in a row of ``summarise_store``."""
    return row["n_ok"] / max(row["n_frames"], 1)


def spread_evenly(n_items: int, count: int) -> np.ndarray:
    """Return up to ``count`` evenly spaced indices below ``n_items``, both ends included."""
    return np.linspace(0, n_items - 1, min(count, n_items)).round().astype(int)


def choose_clips(rows: Sequence[dict[str, Any]], count: int = MAX_CLIPS) -> list[int]:
    """Return the indices of at most ``count`` clips of ``summarise_store`` to show.

    The first half has the lowest shares of ok frames; the others are evenly spaced among the rest.
    """
    by_share = sorted(range(len(rows)), key=lambda i: share_ok(rows[i]))
    if len(rows) <= count:
        return by_share
    worst, others = by_share[: count // 2], sorted(by_share[count // 2 :])
    return worst + [others[i] for i in spread_evenly(len(others), count - len(worst))]


def choose_rows(status: np.ndarray, score: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (worst rows, typical rows) for a contact sheet of ``count`` frames with a face.

    ``status`` and ``score`` are (T,). A third of the frames has the lowest scores, in rising order; they are at least
    T / ``count`` frames apart, since neighbours look alike. The others are evenly spaced in time.
    """
    rows = np.flatnonzero(np.isfinite(score) & (status != Status.no_face))
    by_score = rows[np.argsort(score[rows], kind="stable")]
    gap = max(len(rows) // count, 1)
    worst: list[int] = []
    for row in by_score:
        if len(worst) == -(-count // 3):
            break
        if all(abs(row - other) >= gap for other in worst):
            worst.append(int(row))
    others = np.setdiff1d(rows, worst)
    return np.array(worst, int), others[spread_evenly(len(others), count - len(worst))]


def _thumbnail(crop: np.ndarray) -> str:
    small = cv2.resize(crop, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _face(store: Store, info: ClipInfo, row: int, worst: bool, where: str = "") -> SheetPicture:
    names = ("source_frame", "status", "score", "sharpness")
    number, status, score, sharpness = (store.read(info, name, row, row + 1)[0] for name in names)
    caption = f"{where}frame {number}, {Status(int(status)).name}, score {score:.2f}, sharpness {sharpness:.0f}"
    return SheetPicture(caption, _thumbnail(store.read_crops(info, row, row + 1)[0]), worst)


def clip_pictures(store: Store, info: ClipInfo, count: int = FACES_PER_CLIP) -> list[SheetPicture]:
    """Return the contact sheet of a clip: the worst frames by score, then typical ones by time."""
    worst, typical = choose_rows(store.read(info, "status"), store.read(info, "score"), count)
    return [_face(store, info, row, True) for row in worst] + [_face(store, info, row, False) for row in typical]


def worst_pictures(
    store: Store, count: int = WORST_FRAMES, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[SheetPicture]:
    """Return the frames with the lowest scores of the store, at most ``WORST_PER_CLIP`` per clip."""
    lowest: list[tuple[float, int, int]] = []
    for index, info in enumerate(store.clips):
        score = store.read(info, "score")
        rows = choose_rows(store.read(info, "status"), score, 3 * WORST_PER_CLIP)[0]
        lowest = heapq.nsmallest(count, lowest + [(float(score[row]), index, int(row)) for row in rows])
        progress(index + 1, len(store.clips))
    return [_face(store, store.clips[i], row, True, f"{store.clips[i].name} ") for _, i, row in lowest]
