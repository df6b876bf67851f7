"""The out-of-fold predictions of an evaluation: Parquet columns. This docstring is the specification of format 1.

One row a method and test frame, in the order of methods, folds, subjects, clips and frames. ``AU01`` and so on stand
for every AU of the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

FORMAT = "tclr-predictions"
FORMAT_VERSION = 1


def predictions_schema(au_names: Sequence[str]) -> pa.Schema:
    """Return the columns; null where a label is unknown or nothing was predicted.

    ``method``, ``fold``, ``dataset``, ``subject``, ``clip`` text; ``frame`` int64, as in the features; ``timestamp``
    float64, seconds from the clip's start; for each AU ``AU01`` float32 probability 0..1, ``AU01_c`` int8 0/1 at the
    fold's threshold, ``AU01_true`` int8 0/1 label, ``AU01_r`` float32 intensity 0..5, ``AU01_r_true`` its label.
    """
    text = pa.dictionary(pa.int32(), pa.string())
    fields = [(name, text) for name in ("method", "fold", "dataset", "subject", "clip")]
    fields += [("frame", pa.int64()), ("timestamp", pa.float64())]
    kinds = {"": pa.float32(), "_c": pa.int8(), "_true": pa.int8(), "_r": pa.float32(), "_r_true": pa.float32()}
    fields += [(f"{name}{suffix}", kind) for suffix, kind in kinds.items() for name in au_names]
    return pa.schema(fields)
