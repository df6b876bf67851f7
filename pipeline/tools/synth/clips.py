"""Writes labelled demo clips in BP4D's layout, without a download: two portraits, animated by action units.

Subjects beyond the second are variants of these two (``portraits``): mirrored, recoloured, slightly reshaped.
They are NOT independent people: both sides of every subject split contain the same two faces.
Use the clips to try and to test the tools, never to evaluate a method.

BP4D's layout, 25 frames/s::

    OUT/2D+3D/F001/T1/0314.jpg            frames; the first number differs between clips
    OUT/AUCoding/AU_OCC/F001_T1.csv       first row 0,1,...,99; then frame number and one code per AU

Codes: 1 present (intensity of at least `PRESENT_FROM`), 0 absent, 9 not coded. BP4D's 12 action units and
25, 26 and 45 are coded. The same settings and seed give the same bytes on the same machine. OUT/synth.json has the
settings that a folder was made with.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tclr.pipeline.system import read_json, write_json, writing
from tclr.pipeline.tools.synth.action_warp import AUS, smoothstep
from tclr.pipeline.tools.synth.portraits import load_portraits
from tclr.pipeline.tools.synth.puppet import Puppet, build_puppet, render_face
from tclr.schemas.errors import OutputError, SettingError

logger = logging.getLogger(__name__)

FPS = 25.0
PRESENT_FROM = 0.3
"""Intensity (0..1) from which a frame is labelled present: about where a trained eye sees the action."""
NOT_CODED = 9
LABEL_COLUMNS = 100
JPEG_QUALITY = 95

# BP4D's subjects, from the literature's parts A, B, C in turn, so that the first three already fill all three folds.
SUBJECTS = tuple(
    "F001 F003 F004 F002 F005 F006 F008 F011 F007 F009 F013 F012 F010 F020 F014 F016 F022 F015 F018 M002 "
    "F017 F023 M005 F019 M001 M010 F021 M004 M011 M003 M007 M013 M006 M008 M016 M009 M012 M017 M015 M014 "
    "M018".split()
)

RANGES = {
    "subjects": (1, len(SUBJECTS)),
    "tasks": (1, 8),
    "frames": (10, 8000),
    "size_px": (160, 1080),
    "seed": (0, 2**32 - 1),
}
"""Smallest and largest values of the settings of `write_demo`."""

# Actions that move together, as in spontaneous behaviour; either deck contains every action unit.
LOWER_DECKS = (
    ((6, 12, 25), (10,), (14,), (15, 17), (23, 24), (25, 26)),
    ((12, 14), (6, 10), (17, 24), (15,), (23,), (25, 26)),
)
UPPER_DECKS = (((1, 2), (4, 7), (1,), (7,)), ((2,), (1, 4), (7,), (1, 2, 4)))
SINGLES = ((12,), (17,), (24,), (6,), (10, 25), (25,))


EXPRESSIONS: dict[str, tuple[int, ...]] = {
    "smile": (6, 12),
    "raised brows": (1, 2),
    "open mouth": (25, 26),
    "blinks": (45,),
    "lowered mouth corners": (15,),
}
"""The expressions of a clip of expressions, one after the other, and their action units."""
BLINK_FRAMES = 9
"""Length of a blink from the first movement to the last: longer closures are no blinks, AU45 (docs/action-units.md)."""
GLASSES_HIDE = "raised brows"
"""The expression that a face with glasses skips: the picture's frame and brows are one, and would not move."""
SETTINGS_FILE = "synth.json"


@dataclass(frozen=True)
class SynthResult:
    """The folder of `write_demo` and what is in it; ``n_new`` frames were written now, 0 if all were there before."""

    out: Path
    n_subjects: int
    n_clips: int
    n_frames: int
    n_new: int


@dataclass(frozen=True)
class Scene:
    """Head pose and light in each frame of a clip.

    ``pose`` (T, 6): pitch, yaw, roll in radians, shift along x and y in frame widths, scale - 1.
    ``light`` (T, 3): gain - 1, change of brightness from left to right and from top to bottom.
    """

    pose: np.ndarray
    light: np.ndarray


def write_demo(
    out: Path,
    *,
    subjects: int = 4,
    tasks: int = 2,
    frames: int = 75,
    size_px: int = 480,
    seed: int = 0,
    expressions: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SynthResult:
    """Write demo clips and their labels to a folder, unless it has them from the same settings.

    Each subject has ``tasks`` clips of ``frames`` square frames, at 25 frames/s. The seed determines events, motion and
    light. With ``expressions`` a clip shows `EXPRESSIONS` one after the other, without other events. An interrupted
    folder is written again. ``progress`` is called with (frames written, frames in all).

    Raises
    ------
    SettingError
        If a setting is outside its range.
    OutputError
        If ``out`` contains other clips or cannot be written.

    Examples
    --------
    >>> settings = {"subjects": 1, "tasks": 1, "frames": 10, "size_px": 160}
    >>> write_demo(Path("demo"), **settings)
    SynthResult(out=PosixPath('demo'), n_subjects=1, n_clips=1, n_frames=10, n_new=10)
    >>> write_demo(Path("demo"), **settings).n_new
    0
    """
    numbers = {"subjects": subjects, "tasks": tasks, "frames": frames, "size_px": size_px, "seed": seed}
    _check_settings(**numbers)
    settings = {**numbers, "expressions": expressions}
    total = subjects * tasks * frames
    if _is_written(out, settings):
        return SynthResult(out, subjects, subjects * tasks, total, 0)
    if len(load_portraits()) == 1:
        logger.warning(
            "scikit-image, which includes the second portrait, is not installed: all subjects are variants of one. "
            "For two, run: pip install 'tclr-face[demo]'"
        )
    write_json(out / SETTINGS_FILE, {"complete": False, "settings": settings})
    done = itertools.count(1)
    for subject, name in enumerate(SUBJECTS[:subjects]):
        puppet = build_puppet(subject, size_px=size_px, rng=np.random.default_rng([seed, subject]))
        for task in range(tasks):
            rng = np.random.default_rng([seed, subject, task])
            # Separate streams, so that a change in how light is drawn does not move events.
            when, what, scene, look = rng.spawn(4)
            plan = partial(plan_expressions, puppet.glasses) if expressions else partial(plan_actions, subject, task)
            clip = PlannedClip(name, task, int(when.integers(20, 1200)), plan(frames, rng=what))
            for _ in _write_clip(out, puppet, clip, plan_scene(frames, rng=scene), look):
                progress(next(done), total)
    write_json(out / SETTINGS_FILE, {"complete": True, "settings": settings})
    return SynthResult(out, subjects, subjects * tasks, total, total)


@dataclass(frozen=True)
class PlannedClip:
    """The name and task of a clip, the number of its first frame, and its intensities (T, len(AUS))."""

    subject: str
    task: int
    first: int
    intensities: np.ndarray


def _write_clip(
    out: Path, puppet: Puppet, clip: PlannedClip, scene: Scene, look: np.random.Generator
) -> Iterator[Path]:
    """Write a clip and its labels; yield the path of each frame."""
    name = f"T{clip.task + 1}"
    pictures = render_clip(puppet, clip.intensities, scene, rng=look)
    _write_labels(out / "AUCoding" / "AU_OCC" / f"{clip.subject}_{name}.csv", clip.first, clip.intensities)
    for number, picture in enumerate(pictures, start=clip.first):
        path = out / "2D+3D" / clip.subject / name / f"{number:04d}.jpg"
        _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded.tobytes())
        yield path


def _check_settings(**settings: int) -> None:
    """Raise ``SettingError`` if a setting is outside its range."""
    for name, value in settings.items():
        low, high = RANGES[name]
        if not low <= value <= high:
            raise SettingError(
                f"Expected '{name}' between {low} and {high}, but got {value}. Choose a value in this range."
            )


def _is_written(out: Path, settings: dict[str, Any]) -> bool:
    """Return whether the folder has these clips, whole.

    Raises
    ------
    OutputError
        If it has other clips, or is not a folder.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"Expected a folder to write to, but got a file: {out}. Choose another path.")
    kept = read_json(out / SETTINGS_FILE) if (out / SETTINGS_FILE).is_file() else {}
    if kept:
        made_with = kept.get("settings")
        if made_with != settings:
            raise OutputError(
                f"Expected the settings that the clips in {out} were made with ({_show(made_with)}), but got "
                f"{_show(settings)}. Choose another folder, or remove this one first."
            )
        return bool(kept.get("complete"))
    for name in ("2D+3D", "AUCoding"):
        if (out / name).exists():
            raise OutputError(
                f"Expected no '{name}' in the output folder, but found {out / name}. "
                "Choose another folder, or remove this one first."
            )
    return False


def _show(settings: Any) -> str:
    """Return settings as on the command line."""
    given = settings if isinstance(settings, dict) else {}
    shown = (
        f"--{name.removesuffix('_px')}" + ("" if value is True else f" {value}")
        for name, value in sorted(given.items())
        if value is not False
    )
    return " ".join(shown)


def _write_labels(path: Path, first: int, intensities: np.ndarray) -> None:
    """Write the codes of a clip with intensities (T, len(AUS)) and frames numbered from ``first``."""
    codes = np.full((len(intensities), LABEL_COLUMNS), NOT_CODED)
    codes[:, 0] = first + np.arange(len(codes))
    codes[:, AUS] = intensities >= PRESENT_FROM
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        header = ",".join(map(str, range(LABEL_COLUMNS)))
        np.savetxt(path, codes, "%d", delimiter=",", header=header, comments="")


def plan_actions(subject: int, task: int, frames: int, *, rng: np.random.Generator) -> np.ndarray:
    """Plan the events of a clip: intensities (frames, len(AUS)) float32, 0..1.

    Events of the lower face, events of the upper face, and blinks are independent of each other.
    """
    intensities = np.zeros((frames, len(AUS)), np.float32)
    deck = (subject // 2) % 2
    slots = max(1, round(frames / 25))
    for decks, count in ((LOWER_DECKS, slots), (UPPER_DECKS, max(1, round(frames / 35)))):
        order = list(decks[deck]) + list(SINGLES if decks is LOWER_DECKS else ())
        edges = np.linspace(0, frames, count + 1)
        for slot in range(count):
            event = order[(task * count + slot) % len(order)]
            _add_event(intensities, event, edges[slot], edges[slot + 1], rng)
    _add_blinks(intensities, rng)
    return intensities


def plan_expressions(glasses: bool, frames: int, *, rng: np.random.Generator) -> np.ndarray:
    """Plan a clip that shows `EXPRESSIONS` one after the other, (frames, len(AUS)) float32, 0..1; at rest between."""
    intensities = np.zeros((frames, len(AUS)), np.float32)
    shown = [aus for name, aus in EXPRESSIONS.items() if not (glasses and name == GLASSES_HIDE)]
    edges = np.linspace(0, frames, len(shown) + 1)
    for aus, start, end in zip(shown, edges[:-1], edges[1:], strict=True):
        at = start + np.array([0.13, 0.87]) * (end - start)
        times = (
            [at] if aus != EXPRESSIONS["blinks"] else [at[0] + np.array([0, BLINK_FRAMES]), at[1] - [BLINK_FRAMES, 0]]
        )
        for au in aus:
            peak = rng.uniform(0.9, 1.0)
            for begin, stop in times:
                bump = _bump(frames, begin, stop, 0.3, 0.35)
                np.maximum(intensities[:, AUS.index(au)], peak * bump, out=intensities[:, AUS.index(au)])
    return intensities


def _add_event(
    intensities: np.ndarray, event: Sequence[int], start: float, end: float, rng: np.random.Generator
) -> None:
    """Add onset, apex and offset of the event's action units between two frames, in place."""
    room = end - start
    begin, stop = start + room * rng.uniform(0.03, 0.12), end - room * rng.uniform(0.03, 0.12)
    for au in event:
        lag = room * rng.uniform(0, 0.06)
        onset, offset, peak = rng.uniform(0.2, 0.3), rng.uniform(0.25, 0.4), rng.uniform(0.6, 1.0)
        column = intensities[:, AUS.index(au)]
        np.maximum(column, peak * _bump(len(column), begin + lag, stop + lag / 2, onset, offset), out=column)


def _bump(frames: int, begin: float, stop: float, onset: float, offset: float) -> np.ndarray:
    """Return (frames,) that rise from 0 at ``begin`` to 1 and fall to 0 at ``stop``; onset and offset are shares."""
    time = (np.arange(frames) - begin) / (stop - begin)
    return smoothstep(time / onset) * smoothstep((1 - time) / offset)


def _add_blinks(intensities: np.ndarray, rng: np.random.Generator) -> None:
    """Add a blink of a quarter of a second every 1 to 3 s, in place."""
    frames = len(intensities)
    at = rng.uniform(2, min(20, frames - 6))
    while at < frames - 4:
        column = intensities[:, AUS.index(45)]
        np.maximum(column, _bump(frames, at - 0.5, at + 6.5, 0.4, 0.5), out=column)
        at += rng.uniform(1, 3) * FPS


def plan_scene(frames: int, *, rng: np.random.Generator) -> Scene:
    """Plan head motion and light of a clip as slow waves, independent of the action units."""
    pose_limit = np.array([0.09, 0.16, 0.06, 0.025, 0.02, 0.03])
    light_limit = np.array([0.12, 0.18, 0.12])
    return Scene(_waves(frames, 6, rng) * pose_limit, _waves(frames, 3, rng) * light_limit)


def _waves(frames: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return smooth curves (frames, count) within -1..1: an offset and three slow sines each."""
    seconds = np.arange(frames)[:, None, None] / FPS
    frequency = rng.uniform(0.08, 0.7, (3, count))
    phase = rng.uniform(0, 2 * np.pi, (3, count))
    size = np.array([0.4, 0.25, 0.1])[:, None]
    sines = (size * np.sin(2 * np.pi * frequency * seconds + phase)).sum(1)
    return (sines + rng.uniform(-0.25, 0.25, count)).astype(np.float32)


def render_clip(
    puppet: Puppet, intensities: np.ndarray, scene: Scene, *, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield the frames (size_px, size_px, 3) uint8 RGB of a clip with intensities (T, len(AUS))."""
    size = puppet.size_px
    grain = rng.normal(0, 2.0, (size + 64, size + 64, 3)).astype(np.float32)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    for now, pose, (gain, slope_x, slope_y) in zip(intensities, scene.pose, scene.light, strict=True):
        picture = render_face(puppet, now, pose)
        light = (1 + gain) * (1 + slope_x * ramp[None, :] + slope_y * ramp[:, None])
        row, column = rng.integers(0, 64, 2)
        lit = picture * light[..., None] + grain[row : row + size, column : column + size]
        yield np.clip(lit + 0.5, 0, 255).astype(np.uint8)
