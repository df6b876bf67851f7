"""Any tree of videos, image sequences and stills.

::

    SOURCE/<subject>/<clip>.mp4          a video of a subject
    SOURCE/<subject>/<clip>/0001.jpg ... a numbered image sequence of a subject
    SOURCE/<name>.mp4 or <name>.jpg      a flat file: subject and clip both take its name; an animated picture
                                         (GIF, APNG, WebP, AVIF) is a clip, too
    SOURCE/0001.jpg ...                  numbered images only: one sequence, named after the folder
    SOURCE                               may also be a single video or image
    SOURCE/clips.csv                     lists them instead: path, subject, clip and, optionally, start_s, end_s
    SOURCE/labels/<subject>_<clip>.csv   a clip's AU labels (``folder_labels``); not searched for clips

The names of deeper folders are joined into the clip's name with ``_``. Flat files that share a name, such as ``a.mp4``
and ``a.jpg``, keep their suffix. Numbered images of differing sizes are photographs, not a sequence.
"""

from __future__ import annotations

import csv
import logging
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

from tclr.pipeline.sources.clip import Clip
from tclr.pipeline.sources.folder_labels import LABEL_FOLDER, attach_labels
from tclr.pipeline.sources.listing import (
    SubjectNames,
    is_animated,
    is_image,
    is_unnamed_video,
    is_video,
    largest_sequence,
    reading_table,
    safe_name,
    walk_folders,
)
from tclr.pipeline.system import read_image_header
from tclr.schemas.errors import InputError

CLIPS_TABLE = "clips.csv"
MIN_SEQUENCE = 2
"""Fewest numbered images that make a sequence; one alone is a still."""
FIRST_HEADERS, SPREAD_HEADERS = 8, 8
"""Numbered images whose sizes are compared: the first, and others from all over the folder."""
FRAMES_PER_STRAY = 3
"""Fewest frames per other image in a sequence's folder, which leaves room for a cover or a thumbnail."""

logger = logging.getLogger(__name__)


def _look_alike(frames: list[Path]) -> bool:
    """Return whether frames have one size and are no animations, by the headers of the first and of others."""
    n = len(frames)
    places = {*range(min(n, FIRST_HEADERS)), *(k * n // SPREAD_HEADERS for k in range(SPREAD_HEADERS)), n - 1}
    headers = [header for place in sorted(places) if (header := read_image_header(frames[place]))]
    return len({(header.width, header.height) for header in headers}) <= 1 and not any(
        header.is_animated for header in headers
    )


def _find_sequence(images: list[Path]) -> list[Path]:
    """Return the frames among a folder's images, named and sized alike, each number once; none if others abound."""
    frames = largest_sequence(images)
    paths = [path for _, path in frames]
    unique = len({number for number, _ in frames}) == len(frames) >= MIN_SEQUENCE
    few_strays = len(frames) >= FRAMES_PER_STRAY * (len(images) - len(frames))
    return paths if unique and few_strays and _look_alike(paths) else []


def _media_of(folder: Path, files: list[Path], *, stills: bool) -> list[Path]:
    """List the videos and pictures of a folder, or the folder itself for its image sequence."""
    images = [path for path in files if is_image(path)]
    frames = [] if stills else _find_sequence(images)
    videos = [path for path in files if is_video(path) or is_unnamed_video(path)]
    if not frames:
        return videos + images
    strays = sorted(set(images).difference(frames))
    return [*videos, folder, *filter(is_animated, strays)]


def _list_media(source: Path, *, stills: bool) -> list[Path]:
    """List videos, stills and folders of image sequences, outside the label folder."""
    media: list[Path] = []
    labels = source / LABEL_FOLDER
    for folder, files in walk_folders(source):
        if folder.is_relative_to(labels):
            passed = [path for path in files if is_video(path) or is_image(path)]
            if passed:
                logger.warning("Skipped %s: %s is for labels. Move the file to use it.", passed[0], labels)
            continue
        media += _media_of(folder, files, stills=stills)
    return media


def _parts(path: Path, source: Path) -> tuple[str, ...]:
    """Return the names from subject to clip; a path directly in the source gives both."""
    if path == source:
        return (source.resolve().name, source.resolve().name)
    relative = path.relative_to(source)
    name = relative.name if path.is_dir() else relative.stem
    return (*relative.parts[:-1], name) if len(relative.parts) > 1 else (name, name)


def _parse_row(row: dict[str, str], source: Path, where: str, subjects: SubjectNames) -> Clip:
    path = source / row["path"]
    if not path.exists() or not path.resolve().is_relative_to(source.resolve()):
        raise InputError(f"Expected a file or folder below {source}, but got {row['path']!r} in {where}.")
    if not row["subject"] or not row["clip"]:
        raise InputError(f"Expected a subject and a clip for {row['path']!r}, but one is empty in {where}.")
    try:
        start_s, end_s = float(row.get("start_s") or 0), float(row.get("end_s") or math.inf)
    except ValueError as error:
        raise InputError(f"Cannot read start_s and end_s as seconds in {where}: {error}.") from error
    if not 0 <= start_s < end_s:
        raise InputError(f"Expected 0 <= start_s < end_s, but got {start_s} and {end_s} in {where}.")
    names = subjects.name(row["subject"], source), safe_name(row["clip"])
    relative = path.relative_to(source).as_posix()
    return Clip("folder", *names, path, relative, start_s=start_s, end_s=end_s)


def read_clips_table(source: Path) -> list[Clip]:
    """List the clips of ``clips.csv``."""
    table = source / CLIPS_TABLE
    needed, known = {"path", "subject", "clip"}, {"path", "subject", "clip", "start_s", "end_s"}
    with reading_table(table), table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        header = set(reader.fieldnames or ())
        if not needed <= header <= known:
            raise InputError(
                f"Expected columns path, subject, clip and, optionally, start_s, end_s, but got "
                f"{', '.join(sorted(header)) or 'none'} in {table}."
            )
        subjects, clips = SubjectNames(), []
        for row in reader:
            where = f"{table} line {reader.line_num}"
            if None in row:
                raise InputError(f"Expected {len(header)} cells, but got more in {where}.")
            clips.append(_parse_row(row, source, where, subjects))
    if not clips:
        raise InputError(f"Expected one clip per row, but {table} has only a header.")
    return clips


def _unjoined(clip: Clip) -> Clip:
    """Return a clip whose folder of images is read as unrelated pictures, in the order of their names."""
    if not clip.path.is_dir():
        return clip
    return replace(clip, stills=tuple(sorted(path for path in clip.path.iterdir() if is_image(path))))


def find_folder(source: Path, *, stills: bool = False) -> list[Clip]:
    """List the clips of a folder tree or a single file, with their labels; with ``stills``, no image sequences."""
    if (source / CLIPS_TABLE).is_file():
        clips = read_clips_table(source)
        return attach_labels(source, map(_unjoined, clips) if stills else clips)
    media = [source] if source.is_file() else _list_media(source, stills=stills)
    source = source.parent if source.is_file() else source
    names = {path: _parts(path, source) for path in media}
    shared = Counter(names.values())
    clips = []
    subjects = SubjectNames()
    for path, parts in names.items():
        if shared[parts] > 1 and not path.is_dir():
            parts = (path.name, path.name) if path.parent == source else (*parts[:-1], path.name)
        subject = subjects.name(parts[0], source)
        relative = path.relative_to(source).as_posix()
        clips.append(Clip("folder", subject, safe_name("_".join(parts[1:])), path, relative))
    return attach_labels(source, clips)
