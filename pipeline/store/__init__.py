"""The only reader and writer of HDF5: one file per subject.

The layout is specified in ``tclr.schemas.store``. In: blocks of rows per clip. Out: the same rows, to the bit.
``write_part`` streams clips into a part file, ``assemble_subject`` joins parts without decompressing, ``Store`` reads,
``find_damage`` verifies.
Imports ``system`` and ``schemas``. It is light: no torch, mediapipe or dask.
"""

from tclr.pipeline.store.assembly import assemble_subject
from tclr.pipeline.store.crops import try_codec
from tclr.pipeline.store.damage import DamageRecord, find_changes, find_damage
from tclr.pipeline.store.infos import WHOLE_FILE, ClipInfo, hash_data, scan_clips
from tclr.pipeline.store.manifest import FailedClip, known_clips, list_rows, read_failures, remove_rows, write_manifest
from tclr.pipeline.store.reader import Store
from tclr.pipeline.store.subjects import assign_folds, deal, hold_out, leave_out, match_subjects, split_subjects
from tclr.pipeline.store.summary import describe_double, find_doubles, summarise_store
from tclr.pipeline.store.writer import ClipLayout, ClipWriter, PartWriter, root_attrs, write_part

__all__ = [
    "ClipInfo",
    "ClipLayout",
    "ClipWriter",
    "DamageRecord",
    "FailedClip",
    "PartWriter",
    "Store",
    "WHOLE_FILE",
    "assemble_subject",
    "assign_folds",
    "deal",
    "describe_double",
    "find_changes",
    "find_damage",
    "find_doubles",
    "hash_data",
    "hold_out",
    "known_clips",
    "leave_out",
    "list_rows",
    "match_subjects",
    "read_failures",
    "remove_rows",
    "root_attrs",
    "scan_clips",
    "split_subjects",
    "summarise_store",
    "try_codec",
    "write_manifest",
    "write_part",
]
