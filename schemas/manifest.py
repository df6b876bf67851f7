"""The manifest ``STORE/manifest.parquet``: one row per clip, for pandas.

A failed clip also has a row, with the reason and without numbers (null).
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
        ("start_s", pa.float64()),
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
"""``fps`` is in frames/s, ``width`` and ``height`` in source pixels. The last columns identify the settings, code and
model that made the clip. ``schemas/descriptions.py`` describes each column."""
