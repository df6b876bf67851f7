"""One adapter per dataset: a folder in, its clips and labels out.

``find_clips`` recognises the layout and lists the clips. No clip is decoded here. A file that breaks its dataset's
layout or label format raises an ``InputError`` that names it.
Imports ``system`` and ``schemas``. It is light: no torch, mediapipe, dask, HDF5 or video library.
"""

from tclr.pipeline.sources.accounting import Group, count_passed_over, describe_passed_over, describe_sequences
from tclr.pipeline.sources.clip import Clip, FramesInMemory, Labels
from tclr.pipeline.sources.datasets import DATASETS, find_clips, pseudonymise
from tclr.pipeline.sources.folder_labels import LABEL_FOLDER, unused_tables
from tclr.pipeline.sources.label_tables import NO_FRAME, LabelRows, read_label_rows
from tclr.pipeline.sources.listing import is_animated, is_image, is_video, numbered_images, safe_name
from tclr.pipeline.sources.pseudonyms import Pseudonyms, check_key, open_key, read_key

__all__ = [
    "Clip",
    "DATASETS",
    "FramesInMemory",
    "Group",
    "LABEL_FOLDER",
    "LabelRows",
    "Labels",
    "NO_FRAME",
    "Pseudonyms",
    "check_key",
    "count_passed_over",
    "describe_passed_over",
    "describe_sequences",
    "find_clips",
    "is_animated",
    "is_image",
    "is_video",
    "numbered_images",
    "open_key",
    "pseudonymise",
    "read_key",
    "read_label_rows",
    "safe_name",
    "unused_tables",
]
