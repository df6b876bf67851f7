"""Fits the gaze on half of the people, and judges it on the other half, beside head pose and eye openness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tclr.pipeline.geometry import (
    GAZE_MODEL,
    SHUT_BELOW,
    GazeModel,
    align_face,
    focal_length_px,
    look_at_eye,
    measure_faces,
    measure_gaze,
    measure_openness,
    to_angles,
    untilt,
)
from tclr.pipeline.store import Store
from tclr.pipeline.tools.gaze.truth import read_clip_truth
from tclr.schemas.errors import InputError

MIRRORS = ((1, 1, 1), (-1, 1, 1))


@dataclass(frozen=True)
class PersonFrames:
    """Of the n frames with a face of one person: landmarks (n, 478, 3), and what is true, as in ``ClipTruth``."""

    person: str
    landmarks: np.ndarray
    size_px: tuple[int, int]
    looks: np.ndarray
    rotation: np.ndarray
    closed: np.ndarray
    place_mm: np.ndarray
    focal_px: float


@dataclass(frozen=True)
class Calibration:
    """The fitted model, the people it was fitted on, and its errors on the others.

    ``errors`` has one row per method (``fitted``, ``bundled``, ``head pose``) and axis: ``error_deg``, ``error_sd`` and
    ``error_median`` are mean, spread and median over people of the mean absolute error; ``slope`` and ``r`` are of the
    estimate against the truth; ``within_slope``, ``within_r`` and ``within_rms_deg`` are of what changes within a
    person; then counts of people and frames.
    """

    model: GazeModel
    fitted_on: list[str]
    judged_on: list[str]
    errors: pd.DataFrame


def calibrate(people: Path, store: Path) -> Calibration:
    """Fit the gaze on the first half of photo people, and judge it on the second.

    Parameters
    ----------
    people, store : Path
        A folder that ``tclr people`` wrote, with a portrait of its own for each person, and what ``tclr preprocess``
        made of it.

    Raises
    ------
    InputError
        If ``tclr people`` has not made the folder, or the store has fewer than two people of it.

    Examples
    --------
    >>> calibrate(Path("clips"), Path("store"))
    Traceback (most recent call last):
    tclr.schemas.errors.InputError: Expected a folder of 'tclr people', but clips has no settings.json. ...
    """
    found = read_people(people, store)
    if len(found) < 2:
        raise InputError(f"Expected two or more people of {people} in {store}, but got {len(found)}. Preprocess them.")
    fitted, judged = found[: len(found) // 2], found[len(found) // 2 :]
    model, by_pose = fit_gaze(fitted), fit_gaze(fitted, irises=False)
    methods = {"fitted": model, "bundled": GAZE_MODEL, "head pose": by_pose}
    errors = pd.concat([judge(judged, method).assign(method=name) for name, method in methods.items()])
    return Calibration(model, [one.person for one in fitted], [one.person for one in judged], errors.reset_index())


def read_people(people: Path, store: Path) -> list[PersonFrames]:
    """Return landmarks and truth of the clips that a store has of photo people, with the arguments of ``calibrate``.

    >>> read_people(Path("clips"), Path("store"))
    Traceback (most recent call last):
    tclr.schemas.errors.InputError: Expected a folder of 'tclr people', but clips has no settings.json. ...
    """
    found = []
    with Store(store) as opened:
        for info in opened.clips:
            truth, rows = read_clip_truth(people, info.subject, info.clip), np.flatnonzero(opened.face_mask(info))
            if not len(rows):
                continue
            number = opened.read(info, "source_frame")[rows]
            looks, rotation = truth.looks[number], truth.rotation[number]
            closed, place = truth.closed[number], truth.place_mm[number]
            size_px = (info.attrs.width, info.attrs.height)
            landmarks = opened.read(info, "landmarks")[rows]
            found.append(PersonFrames(info.subject, landmarks, size_px, looks, rotation, closed, place, truth.focal_px))
    return found


def fit_gaze(people: Sequence[PersonFrames], *, irises: bool = True) -> GazeModel:
    """Fit the sines of the gaze by least squares, or of head pose alone without ``irises``.

    Both eyes count alike, the right one mirrored; shut eyes do not count.
    """
    rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    sines: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for one in people:
        alignment, openness = align_face(one.landmarks), measure_openness(one.landmarks)
        turn = untilt(alignment.rotation)
        for side, mirror in enumerate(MIRRORS):
            eye, is_open = look_at_eye(one.landmarks, alignment, side), openness[:, side] >= SHUT_BELOW
            true = np.einsum("tij,tj->ti", turn, one.looks[:, side]) * mirror
            for axis in (0, 1):
                columns = [np.ones(len(true)), eye.iris[:, axis] * irises, eye.ahead[:, axis]]
                rows[axis].append(np.column_stack(columns)[is_open])
                sines[axis].append(true[is_open, axis])
    systems = ((np.concatenate(x), np.concatenate(y)) for x, y in zip(rows, sines, strict=True))
    across, up = (np.linalg.lstsq(x, y, rcond=None)[0].round(4).tolist() for x, y in systems)
    return GazeModel(across=(across[0], across[1], across[2]), up=(up[0], up[1], up[2]))


def judge(people: Sequence[PersonFrames], model: GazeModel) -> pd.DataFrame:
    """Return the errors of a model on people, one row per axis; see ``Calibration``."""
    pairs = []
    for one in people:
        alignment, openness = align_face(one.landmarks), measure_openness(one.landmarks)
        estimate = measure_gaze(one.landmarks, alignment, openness, model)[:, 2]
        true = to_angles(one.looks.sum(axis=1))
        seen = np.isfinite(estimate).all(axis=1)
        if seen.any():
            pairs.append((np.degrees(true[seen]), np.degrees(estimate[seen])))
    return pd.DataFrame([_score(pairs, axis) for axis in (0, 1)], index=pd.Index(["pitch", "yaw"], name="axis"))


def _score(pairs: Sequence[tuple[np.ndarray, np.ndarray]], axis: int) -> dict[str, float]:
    """Return slope, correlation and errors of one angle, given truth and estimate (n, 2) of each person, degrees."""
    misses = [np.abs(true[:, axis] - estimate[:, axis]).mean() for true, estimate in pairs]
    true, estimate = (np.concatenate([pair[k][:, axis] for pair in pairs]) for k in (0, 1))
    moved, seen = (np.concatenate([pair[k][:, axis] - pair[k][:, axis].mean() for pair in pairs]) for k in (0, 1))
    return {
        "error_deg": float(np.mean(misses)),
        "error_sd": float(np.std(misses)),
        "error_median": float(np.median(misses)),
        "slope": float(np.polyfit(true, estimate, 1)[0]),
        "r": float(np.corrcoef(true, estimate)[0, 1]),
        "within_slope": float(np.polyfit(moved, seen, 1)[0]),
        "within_r": float(np.corrcoef(moved, seen)[0, 1]),
        "within_rms_deg": float(np.std(seen - moved)),
        "people": len(pairs),
        "frames": len(true),
    }


def judge_place(people: Sequence[PersonFrames]) -> pd.DataFrame:
    """Return where each person's head is said to be, as a share of the true depth, and the error of x and y in mm.

    The true focal length stands in for the assumed one, so that only the size of the head and the landmarks err.

    >>> judge_place([]).columns.tolist()
    ['person', 'depth_ratio', 'depth_sd', 'x_mm', 'y_mm']
    """
    rows = []
    for one in people:
        width, height = one.size_px
        place = measure_faces(one.landmarks, width, height).place.astype(float)
        place[:, 2] *= one.focal_px / focal_length_px(height)
        ratio = place[:, 2] / one.place_mm[:, 2]
        off = np.abs(place[:, :2] - one.place_mm[:, :2]).mean(axis=0)
        rows.append((one.person, np.median(ratio), ratio.std(), *off))
    return pd.DataFrame(rows, columns=["person", "depth_ratio", "depth_sd", "x_mm", "y_mm"])
