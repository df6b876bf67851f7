"""The Parquet columns of an evaluation's out-of-fold predictions. This docstring specifies format 1.

One row per method and test frame, ordered by method, fold, subject, clip and frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

FORMAT = "tclr-predictions"
FORMAT_VERSION = 1


def predictions_schema(au_names: Sequence[str]) -> pa.Schema:
    """Return the columns for some AUs; unknown labels and missing predictions are null.

    ``method``, ``fold``, ``dataset``, ``subject`` and ``clip`` are text. ``frame`` is int64, as in the features.
    ``timestamp`` is float64, in seconds from the clip's start. Each AU has ``AU01``, float32 probability 0..1;
    ``AU01_c``, int8 0/1 at the fold's threshold; ``AU01_true``, int8 0/1 label; ``AU01_r``, float32 intensity 0..5; and
    ``AU01_r_true``, its float32 label.

    >>> predictions_schema(["AU12"]).names[7:]
    ['AU12', 'AU12_c', 'AU12_true', 'AU12_r', 'AU12_r_true']
    """
    text = pa.dictionary(pa.int32(), pa.string())
    fields = [(name, text) for name in ("method", "fold", "dataset", "subject", "clip")]
    fields += [("frame", pa.int64()), ("timestamp", pa.float64())]
    kinds = {"": pa.float32(), "_c": pa.int8(), "_true": pa.int8(), "_r": pa.float32(), "_r_true": pa.float32()}
    fields += [(f"{name}{suffix}", kind) for suffix, kind in kinds.items() for name in au_names]
    return pa.schema(fields)
