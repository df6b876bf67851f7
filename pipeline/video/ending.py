"""Whether the file of a video is there to its end: judged by the lengths that the file states, not by times.

Tags of duration are no evidence: a copy keeps those of the file it was cut from.
Sources: RFC 8794 and 9559 (Matroska, WebM), ISO/IEC 14496-12 (MP4), Adobe's FLV 10.1, Microsoft's ASF 01.20.03,
RFC 3533 (Ogg), SMPTE 377-1 (MXF).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MATROSKA_SEGMENT, MATROSKA_CLUSTER = 0x18538067, 0x1F43B675
MATROSKA_HEADER_BYTES = 12
"""Most bytes of an element's ID and size."""
FLV_TAGS = frozenset({8, 9, 18})
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
ASF_HEADER_BYTES = 65_536
"""How much of a header is searched for the properties, which stand near its beginning."""
ASF_BROADCAST = 1
"""Flag of a header that was never completed: its lengths are unknown."""
OGG_PAGE_BYTES = 65_307
"""Most bytes of a page."""
OGG_LAST_PAGE = 4
MXF_PARTITION = bytes.fromhex("060e2b34020501010d01020101")
"""First bytes of the key of each partition."""


@dataclass
class Ending:
    """What the demuxer says of the end of a file; it is known after the last packet."""

    error: str = ""
    """Why it cannot read on; "" at an ordinary end."""
    is_cut: bool = False
    """Whether the last packet of the video is incomplete."""


def is_file_cut(path: Path, format_name: str) -> bool:
    """Return whether a file ends before its last element does; ``False`` if its format does not show it.

    ``format_name`` is FFmpeg's. Only the headers of elements are read, and of most files one or two.
    """
    look = _LOOKS.get(format_name.split(",")[0])
    if look is None:
        return False
    with path.open("rb") as file:
        return look(file, file.seek(0, 2))


def _read(file: BinaryIO, place: int, n_bytes: int) -> bytes:
    file.seek(place)
    return file.read(n_bytes)


def _is_matroska_cut(file: BinaryIO, size: int) -> bool:
    """Follow the elements; of a live recording, whose clusters have no length, every block."""
    place = 0
    while place < size:
        header = _read(file, place, MATROSKA_HEADER_BYTES)
        name, length, n_header = _matroska_element(header)
        if not name:  # padding, or a header that is cut
            return header[0] >= 0x10 and len(header) < MATROSKA_HEADER_BYTES
        place += n_header
        if length is None and name not in (MATROSKA_SEGMENT, MATROSKA_CLUSTER):
            return False
        place += length or 0
    return place > size


def _matroska_element(data: bytes) -> tuple[int, int | None, int]:
    """Return the ID of an element, 0 without one; its length, ``None`` if unknown; and the bytes of both."""
    n_name = 9 - data[0].bit_length() if data else 9
    if n_name > 4 or len(data) <= n_name:
        return 0, 0, 0
    n_length = 9 - data[n_name].bit_length()
    if n_length > 8 or len(data) < n_name + n_length:
        return 0, 0, 0
    mask = (1 << 7 * n_length) - 1
    length = int.from_bytes(data[n_name : n_name + n_length]) & mask
    return int.from_bytes(data[:n_name]), None if length == mask else length, n_name + n_length


def _is_mp4_cut(file: BinaryIO, size: int) -> bool:
    """Follow the boxes of a fragmented file; the header of another one states the number of frames."""
    place, is_fragmented = 0, False
    while place < size:
        header = _read(file, place, 16)
        if len(header) < 8:
            return is_fragmented and any(header)
        length, kind = int.from_bytes(header[:4]), header[4:8]
        is_fragmented |= kind == b"moof"
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:])
        if length < 8 or (place + length > size and kind not in (b"moof", b"mdat")):  # the last box, or no box
            return False
        place += length
    return is_fragmented and place > size


def _is_flv_cut(file: BinaryIO, size: int) -> bool:
    place = int.from_bytes(_read(file, 5, 4)) + 4
    while place < size:
        tag = _read(file, place, 11)
        if tag[0] not in FLV_TAGS:
            return False
        place += 11 + int.from_bytes(tag[1:4]) + 4
    return place - 4 > size  # some writers leave out the last length


def _is_asf_cut(file: BinaryIO, size: int) -> bool:
    header = _read(file, 0, ASF_HEADER_BYTES)
    properties = header.find(ASF_PROPERTIES)
    if properties < 0 or len(header) < properties + 92 or header[properties + 88] & ASF_BROADCAST:
        return False
    place = int.from_bytes(header[16:24], "little")
    data = _read(file, min(place, size), 24)
    return data[:16] == ASF_DATA and place + int.from_bytes(data[16:], "little") > size


def _is_ogg_cut(file: BinaryIO, size: int) -> bool:
    """Look at the last page: it must be complete, and say that it is the last."""
    tail = _read(file, max(0, size - OGG_PAGE_BYTES), OGG_PAGE_BYTES)
    page = tail[max(tail.rfind(b"OggS\0"), 0) :]
    n_segments = page[26] if len(page) > 26 else size
    n_bytes = 27 + n_segments + sum(page[27 : 27 + n_segments])
    return len(page) < n_bytes or not page[5] & OGG_LAST_PAGE


def _is_mxf_cut(file: BinaryIO, size: int) -> bool:
    """Look for the footer, whose place the header states if it was completed."""
    key, length = _read(file, 0, 16), _read(file, 16, 1)
    if not key.startswith(MXF_PARTITION) or not length:
        return False
    n_length = 1 + (length[0] & 0x7F if length[0] & 0x80 else 0)
    return int.from_bytes(_read(file, 16 + n_length + 24, 8)) >= size


_LOOKS: dict[str, Callable[[BinaryIO, int], bool]] = {
    "matroska": _is_matroska_cut,
    "mov": _is_mp4_cut,
    "flv": _is_flv_cut,
    "asf": _is_asf_cut,
    "ogg": _is_ogg_cut,
    "mxf": _is_mxf_cut,
}
