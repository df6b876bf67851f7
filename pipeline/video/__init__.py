"""The only decoder and encoder: clips in, RGB frames with exact times out.

``probe`` describes a clip before it is decoded, ``read_frames`` streams it, ``read_timeline`` and ``read_rows`` read
parts of it, ``sample_frames`` and ``sample_start`` pick a few frames, ``number_shots`` finds cuts, ``VideoWriter``
encodes, ``find_source`` and ``LiveReader`` follow a camera, a stream or a file as it plays. A clip that cannot be
decoded or shown correctly raises an ``InputError``.
Imports ``sources``, ``system`` and ``schemas``. It is light: no torch, mediapipe or dask.
"""

from tclr.pipeline.video.frames import ClipMedia, Frame
from tclr.pipeline.video.images import REDUCTIONS, read_image
from tclr.pipeline.video.live import LiveFrame, LiveReader, LiveSource, find_source
from tclr.pipeline.video.reading import is_video_clip, probe, read_frames
from tclr.pipeline.video.sampling import sample_frames, sample_start
from tclr.pipeline.video.shots import number_shots
from tclr.pipeline.video.timeline import Timeline, estimate_frames, read_rows, read_timeline
from tclr.pipeline.video.writing import VideoWriter

__all__ = [
    "ClipMedia",
    "Frame",
    "LiveFrame",
    "LiveReader",
    "LiveSource",
    "REDUCTIONS",
    "Timeline",
    "VideoWriter",
    "estimate_frames",
    "find_source",
    "is_video_clip",
    "number_shots",
    "probe",
    "read_frames",
    "read_image",
    "read_rows",
    "read_timeline",
    "sample_frames",
    "sample_start",
]
