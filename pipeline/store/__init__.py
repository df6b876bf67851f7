"""The only HDF5 reader and writer.

``write_part`` streams clips into a part file, ``assemble_subject`` joins parts into a subject's file without
decompressing, ``Store`` reads, ``find_damage`` verifies. The layout is specified in ``tclr.schemas.store``.
"""

from tclr.pipeline.store.assembly import assemble_subject
from tclr.pipeline.store.damage import WHOLE_FILE, DamageRecord, FileReport, find_changes, find_damage, known_clips
from tclr.pipeline.store.infos import ClipInfo, hash_data, read_clip_infos, scan_clips
from tclr.pipeline.store.reader import Store
from tclr.pipeline.store.trial import try_codec
from tclr.pipeline.store.writer import ClipLayout, ClipWriter, PartWriter, root_attrs, write_part

__all__ = [
    "WHOLE_FILE",
    "ClipInfo",
    "ClipLayout",
    "ClipWriter",
    "DamageRecord",
    "FileReport",
    "PartWriter",
    "Store",
    "assemble_subject",
    "find_changes",
    "find_damage",
    "hash_data",
    "known_clips",
    "read_clip_infos",
    "root_attrs",
    "scan_clips",
    "try_codec",
    "write_part",
]
