"""From videos to a store, on Dask or in this process: a folder in, a store out.

``preprocess`` plans what is to be done, runs the tasks and indexes the store. A run that was interrupted resumes.
Imports ``tracking``, ``faces``, ``video``, ``sources``, ``store``, ``system`` and ``schemas``, and dask. It never
imports torch, unless the face-alignment backend is chosen.
"""

from tclr.pipeline.preprocessing.extract import extract_clip
from tclr.pipeline.preprocessing.layout import part_path, scan_store, subject_path
from tclr.pipeline.preprocessing.pieces import survey_clip
from tclr.pipeline.preprocessing.plan import plan_subject
from tclr.pipeline.preprocessing.rows import fill_rows
from tclr.pipeline.preprocessing.run import PreprocessResult, preprocess, preprocess_all
from tclr.pipeline.preprocessing.scheduling import Progress
from tclr.pipeline.preprocessing.tasks import ClipTask, Outcome, assemble_task, extract_task
from tclr.pipeline.preprocessing.withdrawal.mentions import Mention, find_mentions
from tclr.pipeline.preprocessing.withdrawal.removal import Removal
from tclr.pipeline.preprocessing.withdrawal.request import Withdrawal, readmit, withdraw

__all__ = [
    "ClipTask",
    "Mention",
    "Outcome",
    "PreprocessResult",
    "Progress",
    "Removal",
    "Withdrawal",
    "assemble_task",
    "extract_clip",
    "extract_task",
    "fill_rows",
    "find_mentions",
    "part_path",
    "plan_subject",
    "preprocess",
    "preprocess_all",
    "readmit",
    "scan_store",
    "subject_path",
    "survey_clip",
    "withdraw",
]
