"""How many frames a clip will have, from headers and file names: an estimate, without decoding."""

from __future__ import annotations

import math

from tclr.pipeline.sources import Clip
from tclr.pipeline.video.animation import describe_animation
from tclr.pipeline.video.decoding import count_frames, open_video, read_duration_s
from tclr.pipeline.video.reading import is_animation, is_video_clip, list_images
from tclr.schemas.config import DetectConfig, LimitsConfig


def estimate_frames(clip: Clip, detect: DetectConfig, limits: LimitsConfig) -> float:
    """Return about how many frames a clip will have in the store; 0 if its header does not state it.

    Raises
    ------
    InputError
        If it is not a video, or is larger than the limit.

    Examples
    --------
    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.schemas.config import DEFAULT_LIMITS, DetectConfig
    >>> estimate_frames(find_clips(Path("clips"))[0], DetectConfig(fps=5), DEFAULT_LIMITS)
    3.2
    """
    if clip.stills:
        return len(clip.stills)
    n_frames, rate = _read_header(clip, detect, limits)
    if not rate:
        return n_frames
    n_frames = max(min(n_frames, clip.end_s * rate) - clip.start_s * rate, 0)
    return n_frames * min(detect.fps / rate, 1) if detect.fps else n_frames


def _read_header(clip: Clip, detect: DetectConfig, limits: LimitsConfig) -> tuple[float, float]:
    """Return the number of frames and their rate per second."""
    if is_animation(clip):
        _, _, n_frames, rate = describe_animation(clip.path, limits)
        return n_frames, rate
    if not is_video_clip(clip):
        return len(list_images(clip)), clip.image_fps or detect.image_fps
    with open_video(clip.path, limits) as container:
        rate = float(container.streams.video[0].average_rate or 0)
        return count_frames(container) or math.floor(read_duration_s(container) * rate), rate
