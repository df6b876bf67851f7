"""From a store to Parquet features: embeddings and AUs per frame.

``embed`` plans and runs an export, in this process or on a cluster. An export that was interrupted resumes.
``LiveExport`` does the same for frames that arrive one by one.
Imports ``au``, ``encoder``, ``features``, ``store``, ``system`` and ``schemas``, and torch. It imports dask only for an
export on a cluster, and never mediapipe.
"""

from tclr.pipeline.export.au_source import NAMES
from tclr.pipeline.export.live import LiveExport
from tclr.pipeline.export.run import EmbedProgress, EmbedResult, embed
from tclr.pipeline.export.table import with_pandas_types

__all__ = ["EmbedProgress", "EmbedResult", "LiveExport", "NAMES", "embed", "with_pandas_types"]
