"""FACS actions over time: which Action Units move, how far, on which side, and when.

Intensities are (T, 21, 2) float32, 0..1, by frame, action unit (in the order of ``AUS``) and side: the subject's own
left, then right. Events have an onset, an apex and an offset; combinations are those that occur together (Ekman,
Friesen and Hager, "Facial Action Coding System", 2002; EMFACS). AU 25 here only says how far speech or an emotion parts
the lips: its label is what the lips of the mesh show in the end (``head.puppet``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 22, 23, 24, 25, 26, 28, 43)
"""Action units with labels. 43 is closed eyes; a blink is a short one."""
FPS = 25.0
SYMMETRIC = (17, 18, 22, 25, 26, 28)
"""Actions that the mesh, and most people, cannot do on one side."""
EMOTIONS: tuple[tuple[int, ...], ...] = (
    (6, 12), (6, 12), (6, 12, 25), (6, 12, 25), (6, 7, 12, 25, 26), (12,), (12, 25), (12, 14),  # joy, smirks
    (1, 2, 4, 5, 20, 25), (1, 2, 4, 5, 7, 20, 26),  # fear
    (4, 5, 7, 23), (4, 5, 7, 24), (4, 7, 10, 22, 25), (4, 7, 17, 23), (4, 7, 17, 24),  # anger
    (9, 10, 17), (9, 10, 25), (9, 15, 17), (4, 7, 9, 10, 25),  # disgust
    (1, 4, 15), (1, 4, 15, 17), (1, 4, 15, 43), (15, 17),  # sadness
    (1, 2, 5, 25, 26), (1, 2, 5, 26), (1, 2, 25),  # surprise
    (14,), (10, 14), (17, 24), (4, 6, 7, 9, 10, 25, 43),  # contempt, doubt, pain
    (18,), (22, 25), (28,), (18, 25), (23, 24), (1, 2, 17), (26, 25), (28, 43),  # lips
)  # fmt: skip
"""Action units that move together."""
BROWS: tuple[tuple[int, ...], ...] = ((1, 2), (4,), (2,), (5,), (7,), (1, 4), (1,), (4, 7), (6,))
MOUTHS: tuple[tuple[int, ...], ...] = ((15,), (17,), (28,), (23,), (24,), (18,), (14,), (20,), (15, 17), (22,), (10,))
"""What eyes and brows, and mouths, do beside all else: conversation."""
SINGLES: tuple[tuple[int, ...], ...] = tuple((au,) for au in AUS)
VISEMES: tuple[tuple[int, ...], ...] = (
    (25,),
    (25, 26),
    (18, 25),
    (22, 25, 26),
    (20, 25),
    (24,),
    (10, 25),
    (26, 25),
    (28,),
    (25, 26),
)
"""What lips and jaw do for single sounds."""


def plan_actions(frames: int, *, turn: int, rng: np.random.Generator) -> np.ndarray:
    """Plan the events of a clip: intensities (frames, 21, 2).

    ``turn`` counts clips: the single action of a clip follows from it, so that all action units have their turn.
    """
    intensities = np.zeros((frames, len(AUS), 2), np.float32)
    count = max(1, round(frames / 28))
    edges = np.linspace(0, frames, count + 1)
    for slot, (begin, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        single = SINGLES[(turn * count + slot) % len(SINGLES)]
        kind = rng.choice(["emotion", "single", "speech"], p=[0.55, 0.27, 0.18])
        if kind == "speech":
            _add_speech(intensities, begin, end, rng)
        else:
            event = EMOTIONS[rng.integers(len(EMOTIONS))] if kind == "emotion" else single
            _add_event(intensities, event, begin, end, rng)
    for beside, chance in ((BROWS, 0.75), (BROWS, 0.3), (MOUTHS, 0.45)):
        if rng.random() < chance:
            begin = rng.uniform(-0.1, 0.7) * frames
            event = beside[rng.integers(len(beside))]
            _add_event(intensities, event, begin, begin + rng.uniform(0.25, 0.6) * frames, rng)
    _add_blinks(intensities, rng)
    return resolve_conflicts(intensities)


def resolve_conflicts(intensities: np.ndarray) -> np.ndarray:
    """Return intensities of which one face is capable: of two actions that undo each other the stronger one stays."""
    solved = intensities.copy()
    for weak, strong in (
        (5, 43),
        (5, 7),
        (12, 15),
        (18, 20),
        (28, 18),
        (28, 22),
        (28, 26),
        (24, 26),
        (24, 25),
        (24, 22),
        (23, 26),
    ):
        pair = [AUS.index(weak), AUS.index(strong)]
        loser = solved[:, pair].argmin(axis=1)[:, None]
        lower, higher = solved[:, pair].min(axis=1), solved[:, pair].max(axis=1)
        kept = np.clip(lower - 1.2 * np.clip(higher - 0.15, 0, 1), 0, 1)
        values = solved[:, pair]
        np.put_along_axis(values, loser, kept[:, None], axis=1)
        solved[:, pair] = values
    symmetric = [AUS.index(au) for au in SYMMETRIC]
    solved[:, symmetric] = solved[:, symmetric].mean(axis=2, keepdims=True)
    return solved


def _add_event(
    intensities: np.ndarray, event: Sequence[int], begin: float, end: float, rng: np.random.Generator
) -> None:
    """Add an onset, apex and offset of action units between two frames, in place."""
    room = end - begin
    strength = rng.uniform(0.35, 1.0)
    onset, offset = rng.uniform(0.12, 0.35), rng.uniform(0.15, 0.4)
    lean = rng.choice([0.0, rng.normal(0, 0.12), rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.0)], p=[0.25, 0.6, 0.15])
    held = rng.random() < 0.15  # the clip begins or ends within the event
    for au in event:
        peak = np.clip(strength * rng.uniform(0.75, 1.2), 0.2, 1.0)
        lag = room * rng.uniform(0.0, 0.10)
        course = _bump(len(intensities), begin + lag, end - room * rng.uniform(0, 0.08), onset, offset, held=held)
        for side, sign in enumerate((1, -1)):
            share = 1.0 if au in SYMMETRIC else float(np.clip(1 + min(0.0, sign * lean), 0, 1))
            column = intensities[:, AUS.index(au), side]
            np.maximum(column, peak * share * course, out=column)


def _bump(frames: int, begin: float, end: float, onset: float, offset: float, *, held: bool = False) -> np.ndarray:
    """Return (frames,) that rise from 0 at ``begin`` to 1 and fall to 0 at ``end``; onset and offset are shares.

    An event that is held keeps its apex beyond the clip's end, or before its beginning, if it reaches them.
    """
    time = (np.arange(frames) - begin) / max(end - begin, 1.0)
    rise, fall = _smoothstep(time / onset), _smoothstep((1 - time) / offset)
    if held and begin < 0.1 * frames:
        rise = np.ones(frames)
    if held and end > 0.9 * frames:
        fall = np.ones(frames)
    return rise * fall


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _add_speech(intensities: np.ndarray, begin: float, end: float, rng: np.random.Generator) -> None:
    """Add a run of visemes, some five a second, in place."""
    at = begin
    while at < end - 3:
        length = rng.uniform(3.5, 7.5)
        viseme = VISEMES[rng.integers(len(VISEMES))]
        for au in viseme:
            column = intensities[:, AUS.index(au)]
            course = rng.uniform(0.25, 0.8) * _bump(len(column), at - 1, at + length + 2, 0.4, 0.4)
            np.maximum(column, course[:, None], out=column)
        at += length * 0.8


def _add_blinks(intensities: np.ndarray, rng: np.random.Generator) -> None:
    """Add blinks of a quarter to a third of a second, in place, and now and then eyes that stay closed."""
    column = intensities[:, AUS.index(43)]
    at = rng.uniform(2, 60)
    while at < len(column):
        long = rng.random() < 0.15
        length = rng.uniform(15, 30) if long else rng.uniform(6, 9)
        course = rng.uniform(0.9, 1.0) * _bump(
            len(column), at, at + length, 0.2 if long else 0.35, 0.3 if long else 0.5
        )
        np.maximum(column, course[:, None], out=column)
        at += length + rng.uniform(1.0, 3.5) * FPS
