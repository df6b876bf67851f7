"""The only decoder and encoder of video: a clip in, RGB frames with exact timestamps out.

``probe`` says what is known before decoding, ``read_frames`` streams a clip, ``read_timeline`` and ``read_rows`` read
parts of one, ``sample_frames`` looks at a few frames, ``number_shots`` finds cuts, ``VideoWriter`` encodes. What cannot
be decoded or shown as it should be is an ``InputError``.
Imports ``sources``, ``system`` and ``schemas``. It is light: no torch, mediapipe or dask.
"""

from tclr.pipeline.video.frames import ClipMedia, Frame
from tclr.pipeline.video.images import REDUCTIONS
from tclr.pipeline.video.reading import is_video_clip, probe, read_frames
from tclr.pipeline.video.sampling import sample_frames
from tclr.pipeline.video.shots import number_shots
from tclr.pipeline.video.timeline import Timeline, read_rows, read_timeline
from tclr.pipeline.video.writing import VideoWriter

__all__ = [
    "ClipMedia",
    "Frame",
    "REDUCTIONS",
    "Timeline",
    "VideoWriter",
    "is_video_clip",
    "number_shots",
    "probe",
    "read_frames",
    "read_rows",
    "read_timeline",
    "sample_frames",
]
