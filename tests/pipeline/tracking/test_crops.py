import numpy as np
import pytest

from tclr.pipeline.faces import Face
from tclr.pipeline.tracking import TrackedFrame, cut_crops
from tclr.pipeline.tracking.align import TEMPLATES, anchor_points
from tclr.pipeline.video import Frame
from tclr.schemas.config import AlignConfig
from tclr.schemas.store import Status

SHAPE = np.zeros((68, 3), np.float32)
for group, point in zip(TEMPLATES["tclr"].groups[68], TEMPLATES["tclr"].points, strict=True):
    SHAPE[list(group), :2] = point * 100
IMAGE = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)


def tracked(index, shift_px, noise=None, t=None, track=0):
    landmarks = SHAPE + np.array([40 + shift_px, 40, 0], np.float32)
    if noise is not None:
        landmarks = landmarks + noise.astype(np.float32)
    frame = Frame(index, index / 25 if t is None else t, IMAGE)
    return TrackedFrame(frame, Status.ok, 0.9, Face(landmarks, np.zeros(3, np.float32), None), track)


def empty(index):
    return TrackedFrame(Frame(index, index / 25, IMAGE), Status.no_face)


def centres(items, align):
    """Where each crop's centre lies in the source, (n, 2)."""
    out = []
    for item in cut_crops(items, align):
        inverse = np.linalg.inv(np.vstack([item.transform, [0, 0, 1]]))
        out.append((inverse @ (align.size / 2 - 0.5, align.size / 2 - 0.5, 1))[:2])
    return np.array(out)


def test_cut_crops_keeps_order_and_every_frame():
    items = [tracked(0, 0), tracked(1, 0), empty(2), tracked(3, 0), *[tracked(i, 0) for i in range(4, 30)]]
    out = list(cut_crops(items, AlignConfig(size=32)))
    assert [item.tracked.frame.index for item in out] == list(range(30))
    assert [item.crop is None for item in out] == [i == 2 for i in range(30)]


def test_smoothing_removes_jitter_on_a_still_face_without_lag_on_a_moving_one():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (100, 68, 3))
    still = [tracked(i, 0, noise[i]) for i in range(100)]
    jitter = [np.std(centres(still, AlignConfig(size=64, smooth_s=s)), axis=0).mean() for s in (0, 0.08)]
    assert jitter[1] < 0.5 * jitter[0]
    speed_px = 2.0
    moving = [tracked(i, speed_px * i) for i in range(60)]
    path = centres(moving, AlignConfig(size=64, smooth_s=0.08))[:, 0]
    np.testing.assert_allclose(path - path[0], speed_px * np.arange(60), atol=1e-3)


def test_smoothing_does_not_reach_across_a_gap_or_a_cut():
    align = AlignConfig(size=64, smooth_s=0.08)
    before, after = [tracked(i, 0) for i in range(5)], [tracked(i, 60) for i in range(5, 10)]
    for items in ([*before, *after], [*before, empty(5), *[tracked(i, 8) for i in range(6, 11)]]):
        cut = [item for item in cut_crops(items, align) if item.crop is not None]
        alone = [*cut_crops(before, align), *cut_crops([item for item in items[5:] if item.face], align)]
        for one, other in zip(cut, alone, strict=True):
            np.testing.assert_array_equal(one.transform, other.transform)


def test_without_smoothing_each_frame_is_aligned_alone():
    align = AlignConfig(size=32, smooth_s=0)
    items = [tracked(i, 3 * (i % 2), t=0.0) for i in range(6)]
    for item in cut_crops(items, align):
        points = anchor_points(item.tracked.face.landmarks, TEMPLATES["tclr"])
        aligned = points @ item.transform[:, :2].T + item.transform[:, 2]
        np.testing.assert_allclose(aligned, TEMPLATES["tclr"].points * 32 - 0.5, atol=1e-4)


def test_frames_held_back_are_few():
    align = AlignConfig(size=32, smooth_s=0.08)
    taken = 0

    def source():
        nonlocal taken
        for i in range(200):
            taken = i
            yield tracked(i, 0)

    lag = [taken - item.tracked.frame.index for item in cut_crops(source(), align)]
    assert max(lag) <= np.ceil(3 * 0.08 * 25) + 1


@pytest.mark.parametrize("size", [32, 64])
def test_crop_and_transform_have_the_documented_shapes(size):
    (item,) = cut_crops([tracked(0, 0)], AlignConfig(size=size))
    assert item.crop.shape == (size, size, 3) and item.transform.shape == (2, 3) and item.sharpness > 0
