"""When the first frame of a video is shown: on the clock of its file, and measured from the start of its sound."""

from __future__ import annotations

import av

from tclr.pipeline.video.decoding import open_video, to_seconds, video_stream
from tclr.pipeline.video.frames import ClipMedia

SETTLED_PACKETS = 32
"""Packets with a time after which none without follows: codecs reorder at most 16 frames."""


def find_origin_s(media: ClipMedia, container: av.container.InputContainer, pts: int | None) -> float:
    """Return when the first frame, decoded with the timestamp ``pts``, is shown, in seconds on the file's clock.

    FFmpeg gives packets of Matroska files no time if theirs is before 0. Such frames then count back from the first
    one with a time, at the nominal rate.
    """
    if pts is not None:
        return to_seconds(pts, video_stream(container))
    if not container.format.name.startswith("matroska"):
        return 0.0
    n_untimed, times = 0, []
    with open_video(media.clip.path, media.limits) as again:
        for packet in again.demux(video_stream(again)):
            if packet.pts is not None:
                times.append(packet.pts)
            elif packet.size:
                n_untimed += 1
            if len(times) == SETTLED_PACKETS:
                break
        return to_seconds(min(times), video_stream(again)) - n_untimed * media.step_s if times else 0.0


def find_delay_s(container: av.container.InputContainer, origin_s: float) -> float:
    """Return by how many seconds the first frame, at ``origin_s``, is later than the first sound; 0 if it is not."""
    begun = [to_seconds(sound.start_time, sound) for sound in container.streams.audio if sound.start_time is not None]
    return max([0.0, *(origin_s - start_s for start_s in begun)])
