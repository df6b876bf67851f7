"""One adapter a dataset: a folder in, a list of clips (and where their AU labels are) out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tclr.pipeline.sources.bp4d import find_bp4d, looks_like_bp4d
from tclr.pipeline.sources.clip import Clip, Labels, is_image, is_video
from tclr.pipeline.sources.folder import find_folder
from tclr.schemas.errors import InputError, SettingError

__all__ = ["DATASETS", "Clip", "Labels", "find_clips"]

DATASETS: dict[str, Callable[[Path], list[Clip]]] = {"bp4d": find_bp4d, "folder": find_folder}


def recognise(source: Path) -> str:
    """Return the name of the dataset whose layout a folder has."""
    return "bp4d" if looks_like_bp4d(source) else "folder"


def find_clips(source: Path, dataset: str = "auto") -> list[Clip]:
    """List the clips of a source folder, sorted by subject and clip.

    Parameters
    ----------
    source : Path
        Folder of a dataset, or of videos and images, or a single one of them.
    dataset : str
        A key of ``DATASETS``, or ``auto`` to recognise it.

    Raises
    ------
    InputError
        If it is missing, of another kind, or holds no clip in the layout.
    SettingError
        If the dataset's name is unknown.
    """
    if dataset not in (*DATASETS, "auto"):
        raise SettingError(f"Unknown dataset {dataset!r}. Known datasets: auto, {', '.join(sorted(DATASETS))}.")
    single = source.is_file() and (is_video(source) or is_image(source))
    if not source.is_dir() and not single:
        what = "another file" if source.exists() else "nothing"
        raise InputError(f"Expected a folder of videos, or a video, but found {what} at {source}. Check the path.")
    clips = DATASETS[recognise(source) if dataset == "auto" else dataset](source)
    twice = [name for name, count in Counter(clip.key for clip in clips).items() if count > 1]
    if twice:
        raise InputError(
            f"Two clips of {source} have the same name {'/'.join(twice[0])!r}. Rename one of the files or folders."
        )
    return sorted(clips, key=lambda clip: clip.key)
