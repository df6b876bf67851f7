"""Upright 8-bit RGB from an image file or a decoded video frame: as a player shows it, so that faces keep their shape.

Images are (H, W, 3) uint8 RGB: rotated and mirrored as the container or EXIF states, with square pixels, without alpha.
"""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation, VideoReformatter
from PIL import ImageOps

from tclr.pipeline.system import caught_stderr, check_size, open_image, read_image_size
from tclr.schemas.config import DEFAULT_LIMITS, LimitsConfig
from tclr.schemas.errors import InputError

logger = logging.getLogger(__name__)

REDUCTIONS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""JPEG's decoding scales, with OpenCV's flags; IMREAD_REDUCED_COLOR_* would give BGR."""

JPEG_MAGIC = b"\xff\xd8"
ISO_MAGIC = b"ftyp"
"""Of HEIC, which OpenCV does not decode, and of AVIF, which it does not turn upright."""

MAX_PIXEL_ASPECT = 4
"""Largest ratio of a pixel's sides. Anamorphic formats reach 2; more than 4 is a broken header."""

HDR_TRANSFERS = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})
"""PQ and HLG, whose brightness must be converted to fit 8 bits."""

UNSPECIFIED_MATRIX = 2
"""``AVCOL_SPC_UNSPECIFIED``."""

Orientation = tuple[int, int, int, int]
UPRIGHT: Orientation = (1, 0, 0, 1)


def read_image(path: Path, reduction: int = 1, limits: LimitsConfig = DEFAULT_LIMITS) -> tuple[np.ndarray | None, int]:
    """Decode an image file; return (H, W, 3) uint8 RGB, ``None`` if that fails, and the reduction applied.

    A JPEG is decoded at 1/1, 1/2, 1/4 or 1/8 of its width and height, rounded up, other images at full size.

    Raises
    ------
    InputError
        If the full size in its header is larger than the limit; nothing is decoded then.

    Examples
    --------
    >>> image, reduction = read_image(Path("clips/2D+3D/F001/T1/0966.jpg"), reduction=2)
    >>> image.shape, reduction
    ((240, 240, 3), 2)
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"Expected 'reduction' to be one of {sorted(REDUCTIONS)}, but got {reduction}.")
    try:
        data = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)  # reading a pipe would block
    except OSError:
        return None, 1
    size = read_image_size(data)
    if size is None:
        return None, 1
    check_size(*size, limits, path)
    if data[4:8].tobytes() == ISO_MAGIC:
        return _read_with_pillow(data), 1
    if data[:2].tobytes() != JPEG_MAGIC:
        reduction = 1
    with caught_stderr() as complaints:
        image = cv2.imdecode(data, REDUCTIONS[reduction])
    for complaint in complaints:
        logger.info("%s: %s", path, complaint)
    return image, reduction


def _read_with_pillow(data: np.ndarray) -> np.ndarray | None:
    """Return the first picture of a file, (H, W, 3) uint8 RGB, upright; ``None`` if it cannot be decoded."""
    with suppress(Exception):  # Pillow's readers raise many kinds of errors for damaged files
        image = open_image(io.BytesIO(data.tobytes()))
        return None if image is None else np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return None


def _turn(image: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Rotate and mirror an image; the result is contiguous."""
    a, b, c, d = orientation
    if a == 0:
        image = image.swapaxes(0, 1)
    horizontal, vertical = a or c, d or b
    return np.ascontiguousarray(image[::vertical, ::horizontal])


class FrameConverter:
    """Converts the decoded frames of one video to images of one size, (width, height).

    Pictures of another size are fitted into it with their proportions, and centred on black. Without a ``size``, each
    keeps its own. The scaler is set up once per video: one per frame would cost more than the conversion itself.
    """

    def __init__(self, stream: av.VideoStream, path: Path, size: tuple[int, int] | None = None) -> None:
        self._path = path
        self._size = size
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        self._pixel_aspect = float(aspect or 1)
        if not 1 / MAX_PIXEL_ASPECT <= self._pixel_aspect <= MAX_PIXEL_ASPECT:
            raise InputError(
                f"Expected pixels at most {MAX_PIXEL_ASPECT} times as wide as high, or the reverse, but {path} states "
                f"{self._pixel_aspect:g}. Correct it, for instance with ffmpeg -i IN -c copy -aspect 4:3 OUT."
            )
        self._scaler = VideoReformatter()

    def _square_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Return width and height with square pixels; the short side is stretched, so that no pixel is lost."""
        aspect = self._pixel_aspect
        return round(frame.width * max(aspect, 1)), round(frame.height / min(aspect, 1))

    def _orientation(self, frame: av.VideoFrame) -> Orientation:
        """Return how a frame is rotated and mirrored for display: x' = a x + c y, y' = b x + d y, each 0, 1 or -1."""
        side: Any = frame.side_data.get("DISPLAYMATRIX")
        if side is None:
            return UPRIGHT
        matrix = np.frombuffer(memoryview(side), np.int32)[[0, 1, 3, 4]] / 0x10000
        matrix /= np.abs(matrix).max() or 1
        a, b, c, d = (int(value) for value in np.rint(matrix))
        if abs(a * d - b * c) != 1 or np.abs(matrix - (a, b, c, d)).max() > 0.01:
            raise InputError(
                f"Expected a video rotated by a multiple of 90 degrees, but the display matrix of {self._path} is "
                f"{matrix.round(3).tolist()}. Rotate its frames, for instance with ffmpeg -i IN OUT."
            )
        return a, b, c, d

    def size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Return width and height of a frame's image."""
        width, height = self._square_size(frame)
        return (width, height) if self._orientation(frame)[0] else (height, width)

    def fitted_from(self, frame: av.VideoFrame) -> tuple[int, int] | None:
        """Return the size of a frame's picture if it is not that of the images."""
        size = self.size(frame)
        return None if self._size in (None, size) else size

    def convert(self, frame: av.VideoFrame) -> np.ndarray:
        """Return the image of a frame, (H, W, 3) uint8 RGB."""
        size, room = self.size(frame), self._size
        if room is None or room == size:
            return self._convert(frame, *self._square_size(frame))
        scale = min(room[0] / size[0], room[1] / size[1])
        fitted = [max(round(side * scale), 1) for side in self._square_size(frame)]
        picture = self._convert(frame, *fitted)
        image = np.zeros((room[1], room[0], 3), np.uint8)
        top, left = ((full - side) // 2 for full, side in zip(image.shape, picture.shape[:2], strict=False))
        image[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        return image

    def _convert(self, frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """Return the upright image of a frame that is scaled to a size before it is turned."""
        stretched = (width, height) != (frame.width, frame.height)
        how: dict[str, Any] = {"interpolation": Interpolation.BICUBIC} if stretched else {}
        if frame.colorspace == UNSPECIFIED_MATRIX and (frame.width >= 1280 or frame.height > 576):
            how["src_colorspace"] = Colorspace.ITU709  # players assume this for HD; the scaler would assume BT.601
        if frame.color_trc in HDR_TRANSFERS:
            how |= {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
        try:
            rgb = self._scaler.reformat(frame, width, height, "rgb24", threads=1, **how)
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(
                f"Expected colours that convert to RGB, but {self._path} has {frame.format.name} with matrix "
                f"{frame.colorspace}, transfer {frame.color_trc} and primaries {frame.color_primaries} (numbers of "
                "ITU-T H.273). Convert it, for instance with ffmpeg -i IN -vf colorspace=bt709 OUT."
            ) from error
        return _turn(rgb.to_ndarray(), self._orientation(frame))
