"""Counts what a store holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


def find_doubles(infos: Iterable[ClipInfo]) -> list[list[str]]:
    """Return the recordings, ``subject/clip`` of the source, that are one video: a list of names for each video.

    Their files have the same bytes or, where only labels or the container differ, their faces the same landmarks.

    >>> with Store(Path("store")) as store:
    ...     find_doubles(store.clips)
    []
    """
    by_file: dict[str, dict[str, None]] = {}
    by_face: dict[str, dict[str, None]] = {}
    for info in infos:
        name = f"{info.subject}/{info.attrs.source_clip}"
        by_file.setdefault(info.attrs.source_sha256 or name, {})[name] = None
        has_face = any(getattr(info.attrs, f"n_{status.name}") for status in FACE_STATUSES)
        by_face.setdefault(info.landmarks_sha256 if has_face else "", {})[name] = None
    by_face.pop("", None)
    same = [list(names) for names in by_file.values() if len(names) > 1]
    alike = [list(names) for names in by_face.values() if len(names) > 1]
    return same + [names for names in alike if not any(set(names) <= set(others) for others in same)]


def describe_double(names: Sequence[str]) -> str:
    """Return what is wrong with recordings, ``subject/clip``, that are one video.

    >>> describe_double(["anna/a", "anna/b"])
    'the same video as anna/b: its frames count several times. Keep one of them.'
    """
    same = f"the same video as {', '.join(names[1:])}"
    if len({name.partition("/")[0] for name in names}) > 1:
        return f"{same}: one person under several names is on both sides of a split (folds leak). Keep one of them."
    return f"{same}: its frames count several times. Keep one of them."


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
        ``size_bytes``, ``detect``, ``align`` (settings), ``run_state``, ``doubles`` (see ``find_doubles``), and
        ``clips``: one dict per clip.

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
            "doubles": find_doubles(store.clips),
            "clips": rows,
        }
