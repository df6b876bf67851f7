"""The files of a source that no clip uses, and why: nothing is passed over in silence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tclr.pipeline.sources.clip import Clip
from tclr.pipeline.sources.folder import CLIPS_TABLE
from tclr.pipeline.sources.folder_labels import LABEL_FOLDER
from tclr.pipeline.sources.listing import SYSTEM_FILES, Folder, is_image, is_video, numbered_images, walk

MOST_GROUPS = 8
"""Groups that a line names; the rest is one number."""
LINK = "link to nothing"


@dataclass(frozen=True)
class PassedOver:
    """A file that no clip uses."""

    path: Path
    """Relative to the source."""
    group: str
    """What it is counted as: its suffix, such as ``.txt``, or a reason, such as ``link to nothing``."""


def is_sequence(clip: Clip) -> bool:
    """Return whether a clip is a folder of numbered images that are frames.

    >>> from tclr.pipeline.sources import find_clips
    >>> is_sequence(find_clips(Path("clips"))[0])
    True
    """
    return not clip.stills and clip.path.is_dir()


class _Used:
    """The files that clips use. The frames of a sequence are listed again, one folder at a time."""

    def __init__(self, source: Path, clips: Iterable[Clip]) -> None:
        self._files: set[str] = {os.fspath(source / CLIPS_TABLE)}
        self._sequences: set[str] = set()
        for clip in clips:
            files = [*clip.stills, *clip.label_paths]
            if is_sequence(clip):
                self._sequences.add(os.path.normpath(clip.path))
            elif not clip.stills:
                files.append(clip.path)
            self._files.update(map(os.path.normpath, files))

    def is_sequence(self, folder: Path) -> bool:
        return os.fspath(folder) in self._sequences

    def rest(self, folder: Folder) -> Iterator[Path]:
        """Yield the files of a folder that no clip uses."""
        frames = {path for _, path in numbered_images(folder.path)} if self.is_sequence(folder.path) else set()
        yield from (path for path in folder.files if path not in frames and os.fspath(path) not in self._files)


def _group(path: Path, source: Path, *, in_sequence: bool, is_listed: bool) -> str:
    """Return what a regular file is counted as."""
    if path.name.startswith(".") or path.name in SYSTEM_FILES:
        return "hidden or of a system"
    suffix = path.suffix.lower() or "without a suffix"
    if path.is_relative_to(source / LABEL_FOLDER):
        return f"{suffix} in {LABEL_FOLDER}/"
    if not (is_video(path) or is_image(path)):
        return suffix
    if is_listed:
        return f"{suffix} not in {CLIPS_TABLE}"
    return f"{suffix} beside an image sequence" if in_sequence else f"{suffix} outside the layout"


def _in_left_out(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files below a folder that is not searched; what cannot be read is left out."""
    group = "in hidden folders" if folder.name.startswith(".") else f"in {folder.name}"
    for name, _, files in os.walk(folder):
        yield from ((Path(name, file), group) for file in sorted(files))


def _files(folder: Folder, source: Path, used: _Used, *, is_listed: bool) -> Iterator[tuple[Path, str]]:
    in_sequence = used.is_sequence(folder.path)
    for path in used.rest(folder):
        yield path, _group(path, source, in_sequence=in_sequence, is_listed=is_listed)
    for path in folder.others:
        yield path, "no regular file" if path.exists() else LINK
    for left_out in folder.left_out:
        yield from _in_left_out(left_out)


def find_passed_over(source: Path, clips: Iterable[Clip], own: Path | None = None) -> Iterator[PassedOver]:
    """Yield the files below a source that none of its clips uses, except those below the folder ``own``.

    Raises
    ------
    OSError
        If a folder cannot be read.

    Examples
    --------
    >>> from tclr.pipeline.sources import find_clips
    >>> list(find_passed_over(Path("clips"), find_clips(Path("clips"))))
    []
    """
    if not source.is_dir():
        return
    used, is_listed = _Used(source, clips), (source / CLIPS_TABLE).is_file()
    for folder in walk(source):
        if own is not None and folder.path.is_relative_to(own):
            continue
        for path, group in _files(folder, source, used, is_listed=is_listed):
            yield PassedOver(path.relative_to(source), group)


@dataclass(frozen=True)
class Group:
    """Files that are passed over for one reason."""

    n_files: int
    first: Path
    """One of them, relative to the source."""


def count_groups(files: Iterable[PassedOver]) -> dict[str, Group]:
    """Return the files by group, the largest group first.

    >>> count_groups([PassedOver(Path("a.txt"), ".txt"), PassedOver(Path("b.txt"), ".txt")])
    {'.txt': Group(n_files=2, first=PosixPath('a.txt'))}
    """
    groups: dict[str, Group] = {}
    for file in files:
        known = groups.get(file.group, Group(0, file.path))
        groups[file.group] = replace(known, n_files=known.n_files + 1)
    return dict(sorted(groups.items(), key=lambda item: (-item[1].n_files, item[0])))


def describe_groups(groups: Mapping[str, Group]) -> str:
    """Return one line for ``count_groups``; empty if there is nothing.

    Links to nothing, and videos and pictures, are named: somebody may miss them.

    >>> describe_groups({".txt": Group(3, Path("a.txt")), "link to nothing": Group(1, Path("b.mp4"))})
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
    might_be_missed = name == LINK or (is_video(group.first) or is_image(group.first)) and not name.startswith("in ")
    more = ", ..." if group.n_files > 1 else ""
    return f" ({group.first.as_posix()}{more})" if might_be_missed else ""
