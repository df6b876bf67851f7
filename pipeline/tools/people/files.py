"""The files of photo people: tables beside the videos, in one step each.

::

    OUT/P000/a.mp4               video, 25 frames/s; written last, so a clip with a video is done
    OUT/labels/P000_a.csv        frame, intensity 0..1 of 21 action units, mean of both sides
    OUT/sides/P000_a.csv         the same by side: AU01_L is the subject's own left
    OUT/pose/P000_a.csv          frame, pitch, yaw, roll of the head in radians
    OUT/gaze/P000_a.csv          frame, yaw and pitch in radians of either eye within the head
    OUT/visibility/P000_a.csv    frame, visible share 0..1 of brows, eyes, nose, mouth, chin
    OUT/people.csv               who was made of which portrait, by whom, and how
    OUT/settings.json            what the command was given

The first two are what ``tclr preprocess --dataset folder`` reads.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from tclr.pipeline.system import read_json, remove_abandoned, write_json, write_text
from tclr.pipeline.tools.people.actions import AUS
from tclr.pipeline.tools.people.casting import Role
from tclr.pipeline.tools.people.portraits import AUTHORS, LICENCE, SETS
from tclr.pipeline.tools.people.settings import PeopleSettings
from tclr.schemas.errors import InputError, OutputError

SETTINGS_FILE = "settings.json"
FORMAT = 1
"""Version of what the same settings give: it rises when labels or geometry change."""


@dataclass(frozen=True)
class Truth:
    """What is known of the T frames of a clip."""

    intensities: np.ndarray
    """(T, 21, 2): by action unit, left and right."""
    pose: np.ndarray
    """(T, 3): pitch, yaw, roll in radians."""
    gaze: np.ndarray
    """(T, 2, 2): left and right eye, yaw and pitch in radians."""
    visibility: np.ndarray
    """(T, 5): visible share of the regions."""
    regions: Sequence[str]


def video_path(out: Path, role: Role, clip: str) -> Path:
    """Return the path of a clip's video."""
    return out / role.name / f"{clip}.mp4"


def write_truth(out: Path, name: str, truth: Truth) -> None:
    """Write the tables of a clip, such as ``P000_a``."""
    names = [f"AU{au:02d}" for au in AUS]
    sides = truth.intensities.reshape(len(truth.intensities), -1)
    tables: Mapping[str, tuple[list[str], np.ndarray, int]] = {
        "labels": (names, truth.intensities.mean(2), 3),
        "sides": ([f"{name}_{side}" for name in names for side in "LR"], sides, 3),
        "pose": (["pitch", "yaw", "roll"], truth.pose, 4),
        "gaze": (["left_yaw", "left_pitch", "right_yaw", "right_pitch"], truth.gaze.reshape(-1, 4), 4),
        "visibility": (list(truth.regions), truth.visibility, 3),
    }
    for folder, (columns, rows, digits) in tables.items():
        write_text(out / folder / f"{name}.csv", _table(["frame", *columns], rows, digits))


def _table(columns: list[str], rows: np.ndarray, digits: int) -> str:
    lines = [
        ",".join([str(number), *(f"{value + 0.0:.{digits}f}" for value in row)]) for number, row in enumerate(rows)
    ]
    return "\n".join([",".join(columns), *lines]) + "\n"


def check_output(out: Path, settings: PeopleSettings) -> None:
    """Check that a folder is empty, or has been made by the same settings for as many people, or fewer.

    Raises
    ------
    OutputError
        If it was made by other settings, or holds something else.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"Expected a folder to write to, but got a file: {out}. Choose another path.")
    if (out / SETTINGS_FILE).exists():
        given, before = asdict(settings), read_json(out / SETTINGS_FILE)
        changed = sorted(name for name in given if name != "people" and before.get(name) != given[name])
        if changed or before.get("format") != FORMAT:
            raise OutputError(
                f"Expected people of the same settings in {out}, but it was made with another "
                f"{', '.join(changed or ['version of tclr'])}. Choose another folder."
            )
        if before.get("people", 0) > settings.people:
            raise OutputError(f"Expected at least the {before['people']} people of {out}, but got {settings.people}.")
    elif out.exists() and any(path.name != ".lock" for path in out.iterdir()):
        raise OutputError(f"Expected an empty folder or one of 'tclr people', but {out} holds other files.")


def read_settings(out: Path) -> PeopleSettings:
    """Return what the people of a folder were made with.

    Raises
    ------
    InputError
        If ``tclr people`` has not made the folder.

    Examples
    --------
    >>> read_settings(Path("clips"))
    Traceback (most recent call last):
    tclr.schemas.errors.InputError: Expected a folder of 'tclr people', but clips has no settings.json. ...
    """
    if not (out / SETTINGS_FILE).is_file():
        raise InputError(
            f"Expected a folder of 'tclr people', but {out} has no {SETTINGS_FILE}. Choose another folder."
        )
    known = read_json(out / SETTINGS_FILE)
    return PeopleSettings(**{field.name: known[field.name] for field in fields(PeopleSettings)})


def read_truth(out: Path, name: str, table: str) -> np.ndarray:
    r"""Return one table of a clip such as ``P000_a``, (T, columns) float64 without the frame's number.

    >>> from tclr.pipeline.system import write_text
    >>> write_text(Path("people/pose/P000_a.csv"), "frame,pitch,yaw,roll\n0,0.1,0.2,0.3\n")
    >>> read_truth(Path("people"), "P000_a", "pose").tolist()
    [[0.1, 0.2, 0.3]]
    """
    return np.loadtxt(out / table / f"{name}.csv", delimiter=",", skiprows=1, ndmin=2)[:, 1:]


def write_cast(out: Path, settings: PeopleSettings, roles: Sequence[Role], occluders: Sequence[Sequence[str]]) -> None:
    """Write the settings and who the people are; ``occluders`` has, per person and clip, what comes before the face."""
    remove_abandoned(out)
    write_json(out / SETTINGS_FILE, {"format": FORMAT, **asdict(settings)})
    write_text(out / "people.csv", describe(roles, settings.seed, occluders))


def describe(roles: Sequence[Role], seed: int, occluders: Sequence[Sequence[str]]) -> str:
    """Return the table of people as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = (
        "person,portrait,set,author,year,licence,doi,seed,round,skin_red,skin_green,skin_blue,detail,glasses,occluders"
    )
    writer.writerow(columns.split(","))
    for role, before in zip(roles, occluders, strict=True):
        source = SETS[role.portrait.folder]
        about = (
            role.name,
            role.portrait.name,
            source.title,
            AUTHORS,
            source.year,
            LICENCE,
            source.doi,
            seed,
            role.round,
        )
        skin = (*(f"{factor:.3f}" for factor in role.tone), f"{role.detail:.3f}")
        writer.writerow([*about, *skin, int(role.glasses), " ".join(before)])
    return text.getvalue()
