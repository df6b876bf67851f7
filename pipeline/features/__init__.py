"""Features in pandas: events, rates, co-occurrence, groups, and the tables of other tools.

In: a folder of Parquet files that ``tclr embed`` wrote. Out: data frames.
Imports ``system`` and ``schemas``. It is light: pandas, NumPy and SciPy, without torch, mediapipe, dask or HDF5.
"""

from tclr.pipeline.features.clips import FeatureClips, embeddings_of, values_of
from tclr.pipeline.features.collapse import collapse_warnings, measure_spread
from tclr.pipeline.features.comparison import compare_groups
from tclr.pipeline.features.cooccurrence import MEASURES, count_pairs, measure_cooccurrence, measure_pairs
from tclr.pipeline.features.events import detect_events, summarise_events
from tclr.pipeline.features.foreign import GrowingTable, as_openface, as_pyfeat, write_tables
from tclr.pipeline.features.occurrence import Occurrence, measure_occurrence
from tclr.pipeline.features.reading import PARTITION, choose_columns, list_files, load
from tclr.pipeline.features.sight import DIM, measure_sight, sight_warnings

__all__ = [
    "DIM",
    "FeatureClips",
    "GrowingTable",
    "MEASURES",
    "Occurrence",
    "PARTITION",
    "as_openface",
    "as_pyfeat",
    "choose_columns",
    "collapse_warnings",
    "compare_groups",
    "count_pairs",
    "detect_events",
    "embeddings_of",
    "list_files",
    "load",
    "measure_cooccurrence",
    "measure_occurrence",
    "measure_pairs",
    "measure_sight",
    "measure_spread",
    "sight_warnings",
    "summarise_events",
    "values_of",
    "write_tables",
]
