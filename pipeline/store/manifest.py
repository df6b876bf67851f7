"""The index of a store: one row per clip, including those that failed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tclr.pipeline.store.infos import ClipInfo, provenance
from tclr.pipeline.system import printable, read_rows, read_table, remove_quietly, write_table
from tclr.schemas.errors import StoreError
from tclr.schemas.manifest import MANIFEST_SCHEMA
from tclr.schemas.store import COUNT_ATTRS, QUALITY_ATTRS


@dataclass(frozen=True)
class FailedClip:
    """A clip of the source that is not in the store, and why it failed."""

    dataset: str
    subject: str
    clip: str
    source: str
    reason: str


def _row(info: ClipInfo, reasons: Mapping[str, str]) -> dict[str, Any]:
    names = ("fps", "width", "height", "start_s", *COUNT_ATTRS, *QUALITY_ATTRS)
    return {
        "dataset": info.dataset,
        "subject": info.subject,
        "clip": info.clip,
        "state": "done",
        "reason": printable(reasons.get(f"{info.subject}/{info.attrs.source_clip}") or info.attrs.warning) or None,
        "n_frames": info.n_frames,
        "share_ok": info.attrs.n_ok / max(info.n_frames, 1),
        **{name: getattr(info.attrs, name) for name in names},
        **provenance(info),
    }


def write_manifest(
    store: Path, infos: Sequence[ClipInfo], failed: Iterable[FailedClip] = (), reasons: Mapping[str, str] | None = None
) -> None:
    """Write the index of a store, ``manifest.parquet``.

    Parameters
    ----------
    store : Path
        The store.
    infos : sequence of ClipInfo
        The clips that it holds.
    failed : iterable of FailedClip
        Clips that failed. Those that an earlier run left in the store are not repeated.
    reasons : mapping of str to str, optional
        By name (``subject/clip``), why clips failed that are in the store.

    Examples
    --------
    >>> with Store(Path("store")) as store:
    ...     write_manifest(Path("store"), store.clips)
    """
    stored = {f"{info.subject}/{info.attrs.source_clip}" for info in infos}
    rows = [_row(info, reasons or {}) for info in infos]
    rows += [
        asdict(clip) | {"state": "failed", "reason": printable(clip.reason)}
        for clip in failed
        if f"{clip.subject}/{clip.clip}" not in stored
    ]
    rows.sort(key=lambda row: (row["subject"], row["clip"], row["state"]))
    write_table(store / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST_SCHEMA), {"format": "tclr-manifest"})


def list_rows(store: Path) -> dict[str, set[str]]:
    """Return the clips of each subject in the manifest, those that failed included; none without one.

    >>> list_rows(Path("store"))
    {'F001': {'T1'}, 'F003': {'T1'}}
    """
    try:
        rows = read_rows(Path(store) / "manifest.parquet", MANIFEST_SCHEMA, ["subject", "clip"])
    except StoreError:
        return {}
    listed: dict[str, set[str]] = {}
    for row in rows:
        listed.setdefault(row["subject"], set()).add(row["clip"])
    return listed


def remove_rows(store: Path, subject: str, clips: Collection[str]) -> None:
    """Take clips of a subject out of the manifest; one that cannot be read is deleted: the next run writes another.

    >>> import shutil
    >>> store = Path(shutil.copytree("store", "shorter"))
    >>> remove_rows(store, "F003", ["T1"])
    >>> list_rows(store)
    {'F001': {'T1'}}
    """
    path = store / "manifest.parquet"
    try:
        rows = read_rows(path, MANIFEST_SCHEMA, ["subject", "clip"])
        table = read_table(path)
    except StoreError:
        remove_quietly(path)
        return
    keep = [row["subject"] != subject or row["clip"] not in clips for row in rows]
    if not all(keep):
        write_table(path, table.filter(pa.array(keep)), {"format": "tclr-manifest"})


def known_clips(root: Path) -> dict[str, set[str]]:
    """Return the clips of each subject according to the manifest; none without one.

    >>> known_clips(Path("store"))
    {'F001': {'T1'}, 'F003': {'T1'}}
    """
    try:
        rows = read_rows(Path(root) / "manifest.parquet", MANIFEST_SCHEMA, ["subject", "clip", "state"])
    except StoreError:
        return {}
    known: dict[str, set[str]] = {}
    for row in rows:
        if row["state"] == "done":
            known.setdefault(row["subject"], set()).add(row["clip"])
    return known


def read_failures(root: Path) -> list[dict[str, Any]]:
    """Return ``subject``, ``clip``, ``state``, ``reason`` of clips that failed or have a warning.

    >>> read_failures(Path("store"))
    []
    """
    path = Path(root) / "manifest.parquet"
    if not path.is_file():
        return []
    rows = read_rows(path, MANIFEST_SCHEMA, ["subject", "clip", "state", "reason"])
    return [row for row in rows if row["reason"] or row["state"] == "failed"]
