"""What becomes of a source's files: folders read as image sequences, and files that no clip uses, with the reason."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tclr.pipeline.sources.clip import Clip
from tclr.pipeline.sources.folder import CLIPS_TABLE
from tclr.pipeline.sources.folder_labels import LABEL_FOLDER
from tclr.pipeline.sources.listing import SYSTEM_FILES, Folder, is_image, is_video, largest_sequence, walk

MOST_GROUPS = 8
"""Groups that a line names; the rest is one number."""
LINK, NO_SUFFIX, IN_FOLDER = "link to nothing", "without a suffix", "in "

logger = logging.getLogger(__name__)

SYNTH_NOTE = "synth.json"
"""What ``tclr synth`` notes beside its clips."""


@dataclass(frozen=True)
class Group:
    """Files that are passed over for one reason."""

    n_files: int
    first: Path
    """One of them, relative to the source."""


def _is_sequence(clip: Clip) -> bool:
    """Return whether a clip is a folder of numbered images that are frames."""
    return not clip.stills and clip.path.is_dir()


class _Used:
    """The files that clips use; the frames of a sequence are found again, one folder at a time."""

    def __init__(self, source: Path, clips: Iterable[Clip]) -> None:
        self._files: set[str] = {os.fspath(source / name) for name in (CLIPS_TABLE, SYNTH_NOTE)}
        self._sequences: set[str] = set()
        for clip in clips:
            files = [*clip.stills, *clip.label_paths]
            if _is_sequence(clip):
                self._sequences.add(os.path.normpath(clip.path))
            elif not clip.stills:
                files.append(clip.path)
            self._files.update(map(os.path.normpath, files))

    def is_sequence(self, folder: Path) -> bool:
        return os.fspath(folder) in self._sequences

    def rest(self, folder: Folder) -> Iterator[Path]:
        """Yield what a folder has and no clip uses, folders aside."""
        paths = [*folder.files, *folder.others]
        images = [path for path in paths if is_image(path)] if self.is_sequence(folder.path) else []
        frames = {path for _, path in largest_sequence(images)}
        yield from (path for path in paths if path not in frames and os.fspath(path) not in self._files)


def _group(path: Path, source: Path, *, in_sequence: bool, is_listed: bool) -> str:
    """Return what a file is counted as."""
    if not path.is_file():
        return "no regular file" if path.exists() else LINK
    if path.name.startswith(".") or path.name in SYSTEM_FILES:
        return "hidden or system files"
    suffix = path.suffix.lower() or NO_SUFFIX
    if path.is_relative_to(source / LABEL_FOLDER):
        return f"{suffix} in {LABEL_FOLDER}/"
    if not (is_video(path) or is_image(path)):
        return suffix
    if is_listed:
        return f"{suffix} not in {CLIPS_TABLE}"
    return f"{suffix} beside an image sequence" if in_sequence else f"{suffix} outside the layout"


def _in_left_out(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files below a folder that is not searched; what cannot be read is left out."""
    group = IN_FOLDER + ("hidden folders" if folder.name.startswith(".") else folder.name)
    for name, _, files in os.walk(folder):
        yield from ((Path(name, file), group) for file in sorted(files))


def _files(folder: Folder, source: Path, used: _Used, *, is_listed: bool) -> Iterator[tuple[Path, str]]:
    in_sequence = used.is_sequence(folder.path)
    for path in used.rest(folder):
        yield path, _group(path, source, in_sequence=in_sequence, is_listed=is_listed)
    for left_out in folder.left_out:
        yield from _in_left_out(left_out)


def _find(source: Path, clips: Iterable[Clip], own: Path | None) -> Iterator[tuple[Path, str]]:
    """Yield the files that no clip uses, relative to the source, each with its group."""
    used, is_listed = _Used(source, clips), (source / CLIPS_TABLE).is_file()
    for folder in walk(source):
        if own is not None and folder.path.is_relative_to(own):
            continue
        for path, group in _files(folder, source, used, is_listed=is_listed):
            yield path.relative_to(source), group


def count_passed_over(source: Path, clips: Iterable[Clip], own: Path | None = None) -> dict[str, Group]:
    """Return the files below a source that none of its clips uses, by suffix or reason, the largest group first.

    Files below the folder ``own`` do not count. Each file is logged.

    >>> from tclr.pipeline.sources import find_clips
    >>> count_passed_over(Path("clips"), find_clips(Path("clips"))[:1])[".jpg outside the layout"]
    Group(n_files=16, first=PosixPath('2D+3D/F003/T1/1190.jpg'))
    """
    groups: dict[str, Group] = {}
    if not source.is_dir():
        return groups
    try:
        for path, name in _find(source, clips, own):
            logger.info("passed over: %s (%s)", path, name)
            known = groups.get(name, Group(0, path))
            groups[name] = replace(known, n_files=known.n_files + 1)
    except OSError as error:
        logger.warning(
            "Cannot read %s: %s. Not all files that are passed over are counted.", error.filename, error.strerror
        )
    return dict(sorted(groups.items(), key=lambda item: (-item[1].n_files, item[0])))


def describe_passed_over(groups: Mapping[str, Group]) -> str:
    """Return one line for ``count_passed_over``; empty if there is nothing.

    Links to nothing, videos and pictures are named, since somebody may miss them.

    >>> describe_passed_over({".txt": Group(3, Path("a.txt")), "link to nothing": Group(1, Path("b.mp4"))})
    '4 files passed over: 3 .txt, 1 link to nothing (b.mp4)'
    """
    if not groups:
        return ""
    n_files, shown = sum(group.n_files for group in groups.values()), list(groups.items())[:MOST_GROUPS]
    parts = [f"{group.n_files} {name}{_example(name, group)}" for name, group in shown]
    if n_others := n_files - sum(group.n_files for _, group in shown):
        parts.append(f"{n_others} others")
    return f"{n_files} {'file' if n_files == 1 else 'files'} passed over: {', '.join(parts)}"


def _example(name: str, group: Group) -> str:
    is_media = is_video(group.first) or is_image(group.first)
    might_be_missed = name in (LINK, NO_SUFFIX) or (is_media and not name.startswith(IN_FOLDER))
    return f" ({group.first.as_posix()}{', ...' if group.n_files > 1 else ''})" if might_be_missed else ""


def describe_sequences(clips: Iterable[Clip], image_fps: float) -> str:
    """Return one line on the folders that are read as image sequences; empty without any, and where a dataset has them.

    >>> from tclr.pipeline.sources import find_clips
    >>> describe_sequences(find_clips(Path("clips"), "folder"), image_fps=25)
    '2 folders are read as image sequences at 25 frames/s (--image-fps); --stills reads each picture by itself'
    """
    n_folders = sum(_is_sequence(clip) and clip.image_fps is None for clip in clips)
    if not n_folders:
        return ""
    folders = "1 folder is read as an image sequence"
    if n_folders > 1:
        folders = f"{n_folders} folders are read as image sequences"
    return f"{folders} at {image_fps:g} frames/s (--image-fps); --stills reads each picture by itself"
