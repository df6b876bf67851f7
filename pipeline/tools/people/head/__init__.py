"""A portrait as a puppet: a morphable head fitted to a photograph, which it wears as skin.

In: ICT-FaceKit's shapes, a portrait and its landmarks. Out: vertices of the face, the eyes and everything around them
under Action Units. Imports nothing of tclr but ``schemas``; nothing here draws.
"""

from tclr.pipeline.tools.people.head.eyes import Eye, cap
from tclr.pipeline.tools.people.head.fit import Camera, HeadFit, fit_head
from tclr.pipeline.tools.people.head.furrows import Furrows, draw_furrows
from tclr.pipeline.tools.people.head.mesh import N_FACE, FaceModel, read_model
from tclr.pipeline.tools.people.head.puppet import Pose, Puppet, build_puppet, check_shapes
from tclr.pipeline.tools.people.head.relief import Relief
from tclr.pipeline.tools.people.head.surface import fade_face, find_normals, find_rim

__all__ = [
    "Camera",
    "Eye",
    "FaceModel",
    "Furrows",
    "HeadFit",
    "N_FACE",
    "Pose",
    "Puppet",
    "Relief",
    "build_puppet",
    "cap",
    "check_shapes",
    "draw_furrows",
    "fade_face",
    "find_normals",
    "find_rim",
    "fit_head",
    "read_model",
]
