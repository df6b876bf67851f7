"""Photographs that a camera moves, and faces that move in themselves."""

import numpy as np
import pytest

from tclr.pipeline.tracking.motion import ALIVE, STILL, MotionMeter

FACE = np.random.default_rng(3).uniform(0, 150, (478, 3))
LIDS = FACE[:, 1] < 40


def photograph(i, noise_px=0.2):
    """A flat face in a hand: it turns, tilts, grows and drifts, and landmarks are noisy."""
    turn, grow = 0.1 * np.sin(i / 7), 1 + 0.2 * np.sin(i / 11)
    warp = np.array([[grow * np.cos(turn), -np.sin(turn)], [np.sin(turn), 0.9 * np.cos(turn)]])
    points = FACE[:, :2] @ warp.T + (3 * i, 40 * np.sin(i / 5))
    return np.column_stack([points + np.random.default_rng(i).normal(0, noise_px, points.shape), FACE[:, 2]])


def blinking(i):
    """The same with eyes that close for a fifth of each second."""
    points = photograph(i)
    points[LIDS, 1] += 6.0 * (i % 25 < 5)
    return points


def measure(faces, fps=25.0, tracks=None, **settings):
    meter = MotionMeter(**settings)
    for i, face in enumerate(faces):
        meter.add(face, i / fps, tracks[i] if tracks else 0)
    return meter.moves


def test_a_photograph_in_a_moving_camera_does_not_move_in_itself():
    assert measure(map(photograph, range(100))) is False


def test_a_face_that_blinks_is_alive():
    assert measure(map(blinking, range(100))) is True


def test_a_head_that_turns_is_alive():
    angles = 0.3 * np.sin(np.arange(100) / 9)
    heads = [np.column_stack([FACE[:, 0] * np.cos(a) + FACE[:, 2] * np.sin(a), FACE[:, 1]]) for a in angles]
    assert measure(heads) is True


@pytest.mark.parametrize(("n_frames", "fps"), [(70, 25.0), (11, 1.0), (0, 25.0)])
def test_too_little_time_and_too_few_frames_say_nothing(n_frames, fps):
    assert measure(map(photograph, range(n_frames)), fps) is None


def test_a_face_that_is_neither_still_nor_lively_says_nothing():
    size = np.ptp(FACE[:, :2], axis=0).max()
    faces = [photograph(i, noise_px=size * (STILL + ALIVE) / 2 / np.sqrt(2)) for i in range(100)]
    assert measure(faces) is None


def test_one_moment_of_life_is_enough():
    faces = [blinking(i) if 500 <= i < 560 else photograph(i) for i in range(800)]
    assert measure(faces) is True
    assert measure(faces[:500]) is False


def test_two_photographs_in_turn_do_not_make_a_living_face():
    faces = [photograph(i) if i < 100 else photograph(i)[::-1] for i in range(200)]
    assert measure(faces, tracks=[i // 100 for i in range(200)]) is False
    assert measure(faces) is True  # without the cut


def test_five_landmarks_are_too_few_to_tell():
    assert measure(face[:5] for face in map(photograph, range(100))) is None


def test_verdict_is_that_of_a_fit_frame_by_frame():
    for depth in (0.5, 1.5, 2.5, 4.0):
        faces = [photograph(i) for i in range(100)]
        for face in faces[::3]:
            face[LIDS, 1] += depth
        base, rests = np.column_stack([faces[0][:, :2], np.ones(478)]), []
        for face in faces:
            fitted = base @ np.linalg.lstsq(base, face[:, :2], rcond=None)[0]
            rests.append((face[:, :2] - fitted) / np.ptp(face[:, :2], axis=0).max())
        apart = np.stack(rests) - np.mean(rests, axis=0)
        rest = np.sqrt((apart**2).sum(axis=-1).mean())
        assert measure(faces) is (True if rest > ALIVE else False if rest < STILL else None), rest
