"""The manifest: one row a clip, ``STORE/manifest.parquet``, for pandas.

A failed clip has its row, too, with the reason; its numbers are null.
"""

from __future__ import annotations

import pyarrow as pa

from tclr.schemas.store import COUNT_ATTRS, QUALITY_ATTRS

MANIFEST_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("subject", pa.string()),
        ("clip", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("source", pa.string()),
        ("source_sha256", pa.string()),
        ("fps", pa.float64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("n_frames", pa.int64()),
        *((name, pa.int64()) for name in COUNT_ATTRS),
        ("share_ok", pa.float64()),
        *((name, pa.float64()) for name in QUALITY_ATTRS),
        ("detect_hash", pa.string()),
        ("align_hash", pa.string()),
        ("tclr_version", pa.string()),
        ("detector", pa.string()),
    ]
)
"""``state`` is ``done`` or ``failed``; ``reason`` holds the error of a failed clip or the warning of one that is
done (null if there is none); ``fps`` in frames/s, ``width`` and ``height`` in source pixels, ``share_ok`` is
``n_ok / n_frames``; the counts are the clip's ``COUNT_ATTRS``, then come its ``QUALITY_ATTRS``; the last columns say
which settings, code and model made it."""
