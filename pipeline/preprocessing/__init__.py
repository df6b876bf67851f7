"""From videos to a store, on Dask: a folder in, a store out.

``preprocess`` plans what is to be done, runs the tasks and indexes the store. A run that was interrupted resumes.
Imports ``tracking``, ``faces``, ``video``, ``sources``, ``store``, ``system`` and ``schemas``, and dask. It never
imports torch, unless the face-alignment backend is chosen.
"""

from tclr.pipeline.preprocessing.extract import extract_clip
from tclr.pipeline.preprocessing.layout import part_path, scan_store, subject_path
from tclr.pipeline.preprocessing.pieces import survey_clip
from tclr.pipeline.preprocessing.plan import plan_subject
from tclr.pipeline.preprocessing.run import PreprocessResult, preprocess
from tclr.pipeline.preprocessing.scheduling import Progress
from tclr.pipeline.preprocessing.tasks import ClipTask, Outcome, assemble_task, extract_task

__all__ = [
    "ClipTask",
    "Outcome",
    "PreprocessResult",
    "Progress",
    "assemble_task",
    "extract_clip",
    "extract_task",
    "part_path",
    "plan_subject",
    "preprocess",
    "scan_store",
    "subject_path",
    "survey_clip",
]
