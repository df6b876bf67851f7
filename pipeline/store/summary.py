"""Counts what a store holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tclr.pipeline.store.infos import ClipInfo, provenance
from tclr.pipeline.store.reader import Store
from tclr.pipeline.system import read_json
from tclr.schemas.errors import StoreError
from tclr.schemas.store import FACE_STATUSES, Status


def _clip_row(store: Store, info: ClipInfo) -> dict[str, Any]:
    counts = {f"n_{status.name}": getattr(info.attrs, f"n_{status.name}") for status in Status}
    return {
        "subject": info.subject,
        "clip": info.clip,
        "n_frames": info.n_frames,
        "duration_s": info.attrs.duration_s,
        "fps": info.attrs.fps,
        "start_s": info.attrs.start_s,
        "share_face": sum(counts[f"n_{status.name}"] for status in FACE_STATUSES) / max(info.n_frames, 1),
        **counts,
        "labelled_aus": store.names(info, "au"),
        "warning": info.attrs.warning,
        **provenance(info),
    }


def _run_state(root: Path) -> str:
    """Return how the last run ended; ``unknown`` without a readable record."""
    try:
        return str(read_json(root / "run.json")["state"])
    except (StoreError, KeyError):
        return "unknown"


def summarise_store(root: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
    """Count what a store holds; ``progress`` gets the numbers of clips done and in all.

    Returns
    -------
    dict
        ``dataset``, ``n_subjects``, ``n_clips``, ``n_frames``, ``share_face`` (0..1), ``crop_size_px``, ``has_crops``,
        ``size_bytes``, ``detect``, ``align`` (settings), ``run_state``, and ``clips``: one dict per clip.

    Raises
    ------
    StoreError
        If it is not a store or a file is damaged.

    Examples
    --------
    >>> summary = summarise_store(Path("store"))
    >>> summary["n_clips"], summary["n_frames"], summary["share_face"]
    (2, 32, 1.0)
    """
    with Store(root) as store:
        rows = []
        for info in store.clips:
            rows.append(_clip_row(store, info))
            progress(len(rows), len(store.clips))
        n_frames = sum(row["n_frames"] for row in rows)
        return {
            "store": str(root),
            "dataset": sorted({info.dataset for info in store.clips}),
            "n_subjects": len(store.subjects),
            "n_clips": len(rows),
            "n_frames": n_frames,
            "share_face": sum(row["share_face"] * row["n_frames"] for row in rows) / max(n_frames, 1),
            "crop_size_px": store.crop_size(),
            "has_crops": store.has_frames,
            "size_bytes": sum(path.stat().st_size for path in store.paths.values()),
            **(store.clips[0].root.settings if store.clips else {"detect": {}, "align": {}}),
            "run_state": _run_state(Path(root)),
            "clips": rows,
        }
