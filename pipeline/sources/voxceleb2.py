"""VoxCeleb2: talking faces without AU labels, 25 frames/s.

::

    SOURCE/[dev/|test/][mp4/]id00012/21Uxsk56VDQ/00001.mp4

Source: Chung, Nagrani and Zisserman, "VoxCeleb2: Deep Speaker Recognition", Interspeech 2018.
"""

from __future__ import annotations

import re
from pathlib import Path

from tclr.pipeline.sources.clip import Clip
from tclr.pipeline.sources.listing import is_video, safe_name

PERSON = re.compile(r"id\d{5}")
ROOTS = (".", "mp4", "dev", "test", "dev/mp4", "test/mp4")


def _people(source: Path) -> list[Path]:
    """List the people's folders, wherever the release puts them."""
    folders = [source / name for name in ROOTS if (source / name).is_dir()]
    return sorted(path for folder in folders for path in folder.iterdir() if PERSON.fullmatch(path.name))


def looks_like_voxceleb2(source: Path) -> bool:
    """Return whether a folder has VoxCeleb2's layout: people named id00012."""
    return bool(_people(source))


def find_voxceleb2(source: Path) -> list[Clip]:
    """List VoxCeleb2's clips: ``<video>_<utterance>`` of each person."""
    clips = []
    for person in _people(source):
        for path in sorted(person.glob("*/*")):
            if is_video(path):
                name, relative = safe_name(f"{path.parent.name}_{path.stem}"), path.relative_to(source).as_posix()
                clips.append(Clip("voxceleb2", person.name, name, path, relative))
    return clips
