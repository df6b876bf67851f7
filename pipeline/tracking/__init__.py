"""Frames with faces in, one steady crop per frame and person out.

``scout_people`` finds the people of a clip and ``choose_subject`` the subject, ``PeopleTracker`` follows them,
``MotionMeter`` sees whether a face moves in itself, ``score_faces`` scores faces, ``GapFiller`` interpolates through
short gaps, ``cut_crops`` aligns and crops. ``FaceStream`` does all of it for frames that arrive one by one.
Imports ``faces``, ``video`` and ``schemas``. It is light: no torch, mediapipe or dask.
"""

from tclr.pipeline.tracking.align import TEMPLATES
from tclr.pipeline.tracking.appearance import describe_texture
from tclr.pipeline.tracking.crops import CropCutter, CroppedFrame, cut_crops
from tclr.pipeline.tracking.gaps import GapFiller
from tclr.pipeline.tracking.motion import MotionMeter
from tclr.pipeline.tracking.scoring import score_faces
from tclr.pipeline.tracking.scouting import Scouted, count_samples, scout_people
from tclr.pipeline.tracking.stream import FaceStream
from tclr.pipeline.tracking.subject import NOTE, choose_subject
from tclr.pipeline.tracking.tracker import PeopleTracker, TrackedFrame, rank_faces, without_face

__all__ = [
    "CropCutter",
    "CroppedFrame",
    "FaceStream",
    "GapFiller",
    "MotionMeter",
    "NOTE",
    "PeopleTracker",
    "Scouted",
    "TEMPLATES",
    "TrackedFrame",
    "choose_subject",
    "count_samples",
    "cut_crops",
    "describe_texture",
    "rank_faces",
    "score_faces",
    "scout_people",
    "without_face",
]
