"""One adapter per dataset: a folder in, a list of clips (and where their AU labels are) out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tclr.pipeline.sources.bp4d import find_bp4d, looks_like_bp4d
from tclr.pipeline.sources.clip import Clip
from tclr.pipeline.sources.disfa import find_disfa, looks_like_disfa
from tclr.pipeline.sources.emotionet import find_emotionet, looks_like_emotionet
from tclr.pipeline.sources.folder import find_folder
from tclr.pipeline.sources.listing import is_image, is_unnamed_video, is_video
from tclr.pipeline.sources.pseudonyms import Pseudonyms
from tclr.pipeline.sources.voxceleb2 import find_voxceleb2, looks_like_voxceleb2
from tclr.schemas.errors import InputError, SettingError, suggestion


@dataclass(frozen=True)
class Dataset:
    """A kind of source. ``title``, ``layout`` and ``labels`` describe it to users."""

    name: str
    title: str
    layout: str
    labels: str
    find: Callable[[Path], list[Clip]]
    looks_like: Callable[[Path], bool]


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "bp4d",
            "BP4D",
            "[2D+3D/]F001/T1/0286.jpg or F001/T1.mp4, AUCoding/AU_OCC/F001_T1.csv",
            "occurrence; 9 = unknown",
            find_bp4d,
            looks_like_bp4d,
        ),
        Dataset(
            "disfa",
            "DISFA",
            "Videos_LeftCamera/LeftVideoSN001_comp.avi (and Right), ActionUnit_Labels/SN001/SN001_au1.txt",
            "intensity 0..5; present from 2",
            find_disfa,
            looks_like_disfa,
        ),
        Dataset(
            "emotionet",
            "EmotioNet",
            "<folder>/<image>.jpg, <table>.csv with columns 'AU 1', 'AU 2', ...",
            "occurrence; 999 = unknown",
            find_emotionet,
            looks_like_emotionet,
        ),
        Dataset(
            "voxceleb2",
            "VoxCeleb2",
            "[dev/mp4/]id00012/21Uxsk56VDQ/00001.mp4",
            "none",
            find_voxceleb2,
            looks_like_voxceleb2,
        ),
        Dataset(
            "folder",
            "a folder",
            "<subject>/<clip>.mp4, <subject>/<clip>/0001.jpg, flat files, or clips.csv; labels/<subject>_<clip>.csv",
            "occurrence AU01_c, intensity AU01_r 0..5 or AU01 0..1; empty = unknown",
            find_folder,
            lambda source: True,
        ),
    )
}
"""By name, in the order that ``recognise`` tries them; ``folder`` accepts anything."""


def recognise(source: Path) -> str:
    """Return the name of the dataset whose layout a folder has."""
    if not source.is_dir():
        return "folder"
    return next(dataset.name for dataset in DATASETS.values() if dataset.looks_like(source))


def find_clips(source: Path, dataset: str = "auto", *, stills: bool = False) -> list[Clip]:
    """List the clips of a source, sorted by subject and clip.

    The source is a dataset's folder, a folder of videos and images, or a single video or image. ``dataset`` is a key
    of ``DATASETS``, or ``auto`` to recognise it. With ``stills``, numbered images are not joined into sequences.

    Raises
    ------
    InputError
        If the source is missing, is none of these, or has no clip in the layout.
    SettingError
        If the dataset's name is unknown, or its layout has no ``stills``.

    Examples
    --------
    >>> [clip.name for clip in find_clips(Path("clips"))]
    ['F001/T1', 'F003/T1']
    """
    if dataset not in (*DATASETS, "auto"):
        names = ["auto", *sorted(DATASETS)]
        raise SettingError(
            f"Unknown dataset {dataset!r}. Known datasets: {', '.join(names)}.{suggestion(dataset, names)}"
        )
    single = source.is_file() and (is_video(source) or is_image(source) or is_unnamed_video(source))
    if not source.is_dir() and not single:
        what = "another file" if source.exists() else "nothing"
        raise InputError(f"Expected a folder of videos, or a video, but found {what} at {source}. Check the path.")
    try:
        kind = DATASETS[recognise(source) if dataset == "auto" else dataset]
        clips = find_folder(source, stills=True) if stills and kind.name == "folder" else kind.find(source)
    except OSError as error:
        raise InputError(f"Cannot read {error.filename or source}: {error.strerror}. Check its permissions.") from error
    if stills and kind.name not in ("folder", "emotionet"):
        raise SettingError(f"Expected --stills with --dataset folder only, but {source} is read as {kind.name}.")
    if not clips:
        other = "" if kind.name == "folder" else ", or choose --dataset folder"
        raise InputError(
            f"Expected {kind.title}'s layout ({kind.layout}) in {source}, but found no clip. "
            f"Give the folder that contains it{other}."
        )
    _check_names(clips, source)
    return sorted(clips, key=lambda clip: clip.key)


def _check_names(clips: list[Clip], source: Path) -> None:
    """Raise if two clips have the same name; the error names both files."""
    owners: dict[tuple[str, str], Clip] = {}
    for clip in clips:
        owner = owners.setdefault(clip.key, clip)
        if owner is not clip:
            raise InputError(
                f"Expected clips with different names, but {owner.source} and {clip.source} of {source} would both be "
                f"called {clip.name!r}. Rename one of them."
            )


def pseudonymise(clips: list[Clip], pseudonyms: Pseudonyms) -> list[Clip]:
    """Return clips under pseudonyms, sorted by pseudonym; each keeps its labels.

    Raises
    ------
    InputError
        If two subjects, or two clips of one subject, would get the same pseudonym.

    Examples
    --------
    >>> [clip.name for clip in pseudonymise(find_clips(Path("clips")), Pseudonyms(bytes(32)))]
    ['Paahodicjwpwm/Cujf3of2etf7n', 'Pols7ai3v6gsh/Cujf3of2etf7n']
    """
    owners: dict[str, str] = {}
    hidden = [clip.pseudonymised(pseudonyms) for clip in clips]
    for clip, under in zip(clips, hidden, strict=True):
        for pseudonym, name in ((under.subject, clip.subject), (under.name, clip.name)):
            if (owner := owners.setdefault(pseudonym, name)) != name:
                raise InputError(f"{owner!r} and {name!r} would get the same pseudonym. Rename one of them.")
    return sorted(hidden, key=lambda clip: clip.key)
