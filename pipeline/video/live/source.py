"""What can be watched: a camera, an address, a pipe or a file; each is told by its name alone."""

from __future__ import annotations

import errno
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import av

from tclr.pipeline.sources import Clip
from tclr.pipeline.system import check_size, printable
from tclr.pipeline.video.decoding import FORMATS, list_streams, video_stream
from tclr.pipeline.video.frames import Frame
from tclr.pipeline.video.images import FrameConverter
from tclr.pipeline.video.reading import probe, read_frames
from tclr.schemas.config import DEFAULT_LIMITS
from tclr.schemas.errors import InputError

IMAGE_FPS = 25.0
"""Rate of a folder of numbered images."""
OPEN_TIMEOUT_S, READ_TIMEOUT_S = 15.0, 10.0
"""How long a stream may take to answer, and to send the next packet."""
ANALYSE_US = 1_000_000
"""How much of a stream FFmpeg waits for before it says what the stream is, in microseconds."""
PROTOCOLS = {
    "http": "http,tcp",
    "https": "https,tls,tcp",
    "rtsp": "rtsp,rtp,srtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,srtp,udp,tcp,tls",
    "rtmp": "rtmp,tcp",
    "tcp": "tcp",
    "udp": "udp",
}
"""Schemes of addresses, each with what FFmpeg may use for it."""
CAMERAS = {"linux": ("v4l2", {}), "darwin": ("avfoundation", {"framerate": "30"})}
"""FFmpeg's input of cameras by platform, with options without which some cameras do not open."""
STDIN = "-"

Kind = Literal["camera", "address", "pipe", "file"]


@dataclass(frozen=True)
class LiveSource:
    """Something to watch."""

    kind: Kind
    name: str
    """What to open: a camera's device or number, an address, or a path."""

    @property
    def title(self) -> str:
        """A name to show: of an address without the password that it may have.

        >>> LiveSource("address", "rtsp://me:secret@cam/live").title, LiveSource("camera", "/dev/video0").title
        ('rtsp://cam/live', 'camera /dev/video0')
        """
        if self.kind == "address":
            parts = urlsplit(self.name)
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        return f"camera {self.name}" if self.kind == "camera" else self.name

    @property
    def waits(self) -> bool:
        """Whether reading slowly loses nothing: of a file and a pipe."""
        return self.kind in ("file", "pipe")

    def read(self) -> Iterator[Frame]:
        """Yield the frames; one that cannot be decoded has no picture.

        The time of a frame is NaN where the moment that it comes says more than the source: of all but files.

        Raises
        ------
        InputError
            If it cannot be opened or is no video, or it breaks off.
        """
        return _read_file(Path(self.name)) if self.kind == "file" else _read_stream(self)


def find_source(name: str) -> LiveSource:
    """Return what a name means: ``0`` or ``/dev/video0`` a camera, ``rtsp://...`` an address, ``-`` a pipe, or a file.

    Raises
    ------
    InputError
        If there is no such camera or file, or the address has a scheme that is not read.

    Examples
    --------
    >>> find_source("rtsp://camera.lab/stream1").kind
    'address'
    >>> find_source("clips/2D+3D/F001/T1").kind
    'file'
    """
    if re.fullmatch(r"\d+|/dev/video\d+", name):
        return _find_camera(name)
    if "://" in name:
        scheme = name.partition("://")[0].lower()
        if scheme not in PROTOCOLS:
            known = ", ".join(f"{one}://" for one in PROTOCOLS)
            raise InputError(f"Expected an address that begins with one of {known}, but got {printable(name)}.")
        return LiveSource("address", name)
    if name == STDIN or Path(name).is_fifo():
        return LiveSource("pipe", name)
    if not Path(name).exists():
        raise InputError(
            f"Expected a camera (0, /dev/video0), an address (rtsp://...) or a file, but found nothing at "
            f"{printable(name)}. Check the path."
        )
    return LiveSource("file", name)


def _find_camera(name: str) -> LiveSource:
    number = name.removeprefix("/dev/video")
    if sys.platform != "linux":
        return LiveSource("camera", number)
    device = Path(f"/dev/video{number}")
    if not device.exists():
        raise InputError(
            f"Expected a camera, but there is no {device}{_other_cameras()}. Connect one, or give a video file or an "
            "address such as rtsp://...; a container needs 'docker run --device /dev/video0'."
        )
    return LiveSource("camera", str(device))


def _other_cameras() -> str:
    found = sorted(map(str, Path("/dev").glob("video[0-9]*")))
    return f" (there is {', '.join(found)})" if found else ""


def _read_file(path: Path) -> Iterator[Frame]:
    media = probe(Clip("folder", "video", "video", path, path.name), IMAGE_FPS)
    yield from read_frames(media)


def _read_stream(source: LiveSource) -> Iterator[Frame]:
    limits = DEFAULT_LIMITS
    with _open(source) as container:
        if not list_streams(container):
            raise InputError(f"Expected a video, but {source.title} has no video stream. Check the source.")
        stream = video_stream(container)
        check_size(stream.width, stream.height, limits, Path(source.name))
        stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}
        stream.thread_type = "SLICE"  # threads that share a frame; those that take one each keep frames back
        converter: FrameConverter | None = None
        for number, frame in enumerate(_decode(container, stream, source)):
            if converter is None:
                size = FrameConverter(stream, Path(source.name)).size(frame)
                converter = FrameConverter(stream, Path(source.name), size)
            yield Frame(number, math.nan, converter.convert(frame))


def _decode(
    container: av.container.InputContainer, stream: av.VideoStream, source: LiveSource
) -> Iterator[av.VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.EOFError):
            return
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(
                f"Expected more pictures, but {source.title} broke off: {_reason(error, READ_TIMEOUT_S)}. "
                "Check the connection, then start again."
            ) from error
        try:
            yield from (frame for frame in packet.decode() if not frame.is_corrupt)
        except av.error.FFmpegError:  # a stream that is joined in its middle begins with pictures that refer to others
            continue


def _open(source: LiveSource) -> av.container.InputContainer:
    try:
        return av.open(**_how_to_open(source))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _cannot_open(source, error) from error


def _how_to_open(source: LiveSource) -> dict[str, Any]:
    """Return the arguments of ``av.open``."""
    times_s = OPEN_TIMEOUT_S, READ_TIMEOUT_S
    if source.kind == "camera":
        form, options = CAMERAS.get(sys.platform, ("v4l2", {}))
        return {"file": source.name, "format": form, "options": dict(options), "timeout": times_s}
    options = {"format_whitelist": FORMATS.replace(" ", ","), "analyzeduration": str(ANALYSE_US)}
    if source.kind == "pipe":
        name = "pipe:0" if source.name == STDIN else str(Path(source.name).absolute())
        return {"file": name, "options": options | {"protocol_whitelist": "file,pipe"}}
    scheme = source.name.partition("://")[0].lower()
    options |= {"format_whitelist": f"{options['format_whitelist']},mpjpeg,rtsp,rtp,sdp"}
    options |= {"protocol_whitelist": PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        options["rtsp_flags"] = "prefer_tcp"
    return {"file": source.name, "options": options, "timeout": times_s}


def _cannot_open(source: LiveSource, error: Exception) -> InputError:
    reason = _reason(error, OPEN_TIMEOUT_S)
    advice = {
        "camera": "Close other programs that use it, or name another camera: 'tclr live 1'.",
        "address": "Check the address, name and password; playlists (.m3u8) are not read.",
    }.get(source.kind, "Check what is sent.")
    if source.kind == "camera" and getattr(error, "errno", None) in (errno.EACCES, errno.EPERM):
        advice = "Join the group that may use cameras ('sudo usermod -aG video $USER', then log in again)."
    return InputError(f"Expected pictures from {source.title}, but it cannot be opened: {reason}. {advice}")


def _reason(error: Exception, timeout_s: float) -> str:
    """Return why FFmpeg gave up, in words; a timeout is an exit that its own clock requested."""
    if isinstance(error, av.error.ExitError):
        return f"nothing came for {timeout_s:g} s"
    return str(getattr(error, "strerror", None) or error)
