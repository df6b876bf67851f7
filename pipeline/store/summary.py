"""What a store holds, counted from its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tclr.pipeline.store.infos import ClipInfo, provenance
from tclr.pipeline.store.reader import Store
from tclr.pipeline.system import read_json
from tclr.schemas.errors import StoreError
from tclr.schemas.store import Status


def _clip_row(store: Store, info: ClipInfo) -> dict[str, Any]:
    counts = Counter(store.read(info, "status").tolist())
    timestamps = store.read(info, "timestamp")
    return {
        "subject": info.subject,
        "clip": info.clip,
        "n_frames": info.n_frames,
        "duration_s": float(timestamps[-1]) if len(timestamps) else 0.0,
        "fps": info.attrs.fps,
        "share_face": float(store.face_mask(info).mean()) if info.n_frames else 0.0,
        **{f"n_{status.name}": counts[int(status)] for status in Status},
        "labelled_aus": store.names(info, "au"),
        "warning": info.attrs.warning,
        **provenance(info),
    }


def _run_state(root: Path) -> str:
    """Return how the last run ended; ``unknown`` without a record, or with one that cannot be read."""
    try:
        return str(read_json(root / "run.json")["state"])
    except (StoreError, KeyError):
        return "unknown"


def summarise_store(root: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
    """Count what a store holds; ``progress`` is called with clips done and clips in all.

    Returns
    -------
    dict
        ``dataset``, ``n_subjects``, ``n_clips``, ``n_frames``, ``share_face`` (0..1), ``crop_size_px``, ``has_crops``,
        ``size_bytes``, ``detect``, ``align`` (settings), ``run_state``, and ``clips``: one dict a clip.

    Raises
    ------
    StoreError
        If it is no store or a file is damaged.
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
