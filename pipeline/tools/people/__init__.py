"""Photo people: videos of portraits on a morphable head, moved by FACS actions, with true labels.

In: ICT-FaceKit and the portraits of webmorphR.stim, two public sources that a user fetches. Out: a folder that
``tclr preprocess --dataset folder`` and ``tclr fit-au`` take. ``head`` makes a puppet of a portrait, this room plans
what it does, draws it and writes it. Drawing needs the extra ``people`` (moderngl) and EGL.
"""

from tclr.pipeline.tools.people.clips import recall_scene
from tclr.pipeline.tools.people.files import read_settings, read_truth
from tclr.pipeline.tools.people.occluders import REGIONS, SPRITE_PX, UNIT_PX, paint_sprite
from tclr.pipeline.tools.people.run import PeopleResult, write_people
from tclr.pipeline.tools.people.settings import PeopleSettings
from tclr.pipeline.tools.people.stage import PIVOT, pose_rotation

__all__ = [
    "PIVOT",
    "PeopleResult",
    "PeopleSettings",
    "REGIONS",
    "SPRITE_PX",
    "UNIT_PX",
    "paint_sprite",
    "pose_rotation",
    "read_settings",
    "read_truth",
    "recall_scene",
    "write_people",
]
