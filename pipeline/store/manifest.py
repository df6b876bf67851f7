"""The index of a store: one row a clip, also those that failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tclr.pipeline.sources import Clip
from tclr.pipeline.store.infos import ClipInfo, provenance
from tclr.pipeline.system import printable, read_rows, write_table
from tclr.schemas.errors import StoreError
from tclr.schemas.manifest import MANIFEST_SCHEMA
from tclr.schemas.store import COUNT_ATTRS, QUALITY_ATTRS


def _row(info: ClipInfo, reasons: Mapping[str, str]) -> dict[str, Any]:
    """Return the row of a clip that is in the store."""
    names = ("fps", "width", "height", *COUNT_ATTRS, *QUALITY_ATTRS)
    return {
        "dataset": info.dataset,
        "subject": info.subject,
        "clip": info.clip,
        "state": "done",
        "reason": printable(reasons.get(f"{info.subject}/{info.attrs['source_clip']}") or info.attrs["warning"])
        or None,
        "n_frames": info.n_frames,
        "share_ok": info.attrs["n_ok"] / max(info.n_frames, 1),
        **{name: info.attrs[name] for name in names},
        **provenance(info),
    }


def write_manifest(store: Path, infos: Sequence[ClipInfo], clips: Iterable[Clip], reasons: Mapping[str, str]) -> None:
    """Index the store: one row a clip of its subject files, and one a clip that failed and is not in them.

    Parameters
    ----------
    store : Path
        The store.
    infos : sequence of ClipInfo
        The clips that it holds.
    clips : iterable of Clip
        What the source has.
    reasons : mapping of str to str
        By name (``subject/clip``), why clips failed.
    """
    stored = {f"{info.subject}/{info.attrs['source_clip']}" for info in infos}
    rows = [_row(info, reasons) for info in infos]
    rows += [
        {"dataset": c.dataset, "subject": c.subject, "clip": c.clip, "state": "failed"}
        | {"source": c.source, "reason": printable(reasons[c.name])}
        for c in clips
        if c.name in reasons and c.name not in stored
    ]
    rows.sort(key=lambda row: (row["subject"], row["clip"], row["state"]))
    write_table(store / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST_SCHEMA), {"format": "tclr-manifest"})


def known_clips(root: Path) -> dict[str, set[str]]:
    """Return by subject the clips that a store's last run left in it, as its manifest says; none without one."""
    try:
        rows = read_rows(Path(root) / "manifest.parquet", MANIFEST_SCHEMA, ["subject", "clip", "state"])
    except StoreError:
        return {}
    known: dict[str, set[str]] = {}
    for row in rows:
        if row["state"] == "done":
            known.setdefault(row["subject"], set()).add(row["clip"])
    return known
