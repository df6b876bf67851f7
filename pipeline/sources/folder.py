"""Any tree of videos, image sequences and stills.

::

    SOURCE/<subject>/<clip>.mp4          a video of a subject
    SOURCE/<subject>/<clip>/0001.jpg ... a numbered image sequence of a subject
    SOURCE/<name>.mp4 or <name>.jpg      flat files: each its own subject, its clip has the same name
    SOURCE/0001.jpg ...                  numbered images only: one sequence, named after the folder
    SOURCE                               may also be a single video or image

Deeper folders are joined into the clip's name with ``_``. Flat files that share a name, as ``a.mp4`` and
``a.jpg``, keep their suffix.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tclr.pipeline.sources.clip import Clip, frame_number, is_image, is_video, safe_name
from tclr.schemas.errors import InputError

MIN_SEQUENCE = 2
"""Numbered images that make a folder an image sequence; chosen by us."""


def _is_sequence(images: list[Path]) -> bool:
    """Tell whether all images are numbered behind one common prefix, each number once."""
    numbers = [frame_number(path) for path in images]
    prefixes = {path.stem.rstrip("0123456789") for path in images}
    return len(images) >= MIN_SEQUENCE and None not in numbers and len(prefixes) == 1 == max(Counter(numbers).values())


def _media(source: Path) -> list[Path]:
    """List videos, stills and folders that are image sequences."""
    media: list[Path] = []
    for folder in sorted({source, *(path for path in source.rglob("*") if path.is_dir())}):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        media += [path for path in files if is_video(path)]
        images = [path for path in files if is_image(path)]
        media += [folder] if _is_sequence(images) else images
    return media


def _parts(path: Path, source: Path) -> tuple[str, ...]:
    """Return the names from subject to clip; a path directly in the source names both."""
    if path == source:
        return (source.resolve().name, source.resolve().name)
    relative = path.relative_to(source)
    name = relative.name if path.is_dir() else relative.stem
    return (*relative.parts[:-1], name) if len(relative.parts) > 1 else (name, name)


def find_folder(source: Path) -> list[Clip]:
    """List the clips of a folder tree, or the one of a single file.

    Raises
    ------
    InputError
        If there is no video or image in it.
    """
    media = [source] if source.is_file() else _media(source)
    source = source.parent if source.is_file() else source
    if not media:
        raise InputError(
            f"Expected videos or images in {source} (as SOURCE/<subject>/<clip>.mp4 or flat files), but found none."
        )
    names = {path: _parts(path, source) for path in media}
    shared = Counter(names.values())
    clips = []
    for path, parts in names.items():
        if shared[parts] > 1 and not path.is_dir():
            parts = (path.name, path.name) if path.parent == source else (*parts[:-1], path.name)
        relative = path.relative_to(source).as_posix()
        clips.append(Clip("folder", safe_name(parts[0]), safe_name("_".join(parts[1:])), path, relative))
    return clips
