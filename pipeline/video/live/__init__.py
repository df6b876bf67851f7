"""Frames as they come, from a camera, a stream, a pipe, or a file played at its own pace.

In: what a user names. Out: pictures with times, the newest first if the reader is slow. Nothing is opened but what is
named: playlists and other formats that refer to further addresses are refused.
"""

from tclr.pipeline.video.live.reader import LiveFrame, LiveReader
from tclr.pipeline.video.live.source import LiveSource, find_source

__all__ = ["LiveFrame", "LiveReader", "LiveSource", "find_source"]
