"""Things before faces: what they cover, and what of the regions they leave visible."""

from importlib import resources

import numpy as np
import pytest

from tclr.pipeline.tools.people import REGIONS
from tclr.pipeline.tools.sight.things import HARMLESS, SPRITES, THINGS, Paints, draw_thing, lay_over, visible_shares

SIDE = 96


@pytest.fixture(scope="module")
def face():
    """The landmarks (478, 2) of the mean face, upright in the middle of a crop; its middle is at x = 47.5."""
    with np.load(resources.files("tclr.pipeline.geometry") / "mean_face.npz") as mean:
        points = next(mean[name] for name in mean if mean[name].shape[0] == 478)[:, :2].astype(float)
    points -= (points[234] + points[454]) / 2
    return points * [1, -1] * 68 / np.linalg.norm(points[454] - points[234]) + [47.5, 50]


@pytest.fixture(scope="module")
def paints():
    rng = np.random.default_rng(1)
    return Paints.prepare(rng.integers(90, 200, (3, SIDE, SIDE, 3), np.uint8), 1, rng)


def shares(landmarks, opacity):
    return dict(zip(REGIONS, visible_shares(landmarks, opacity), strict=True))


def test_visible_shares_are_those_of_the_areas(face):
    opacity = np.zeros((SIDE, SIDE), np.float32)
    assert all(share == 1 for share in shares(face, opacity).values())
    lips, nose = (face[list(REGIONS[name])] for name in ("mouth", "nose"))
    below_nose = int((lips[:, 1].min() + nose[:, 1].max()) / 2)
    opacity[below_nose:, :48] = 1  # the half of mouth and chin on the left
    found = shares(face, opacity)
    assert found["mouth"] == pytest.approx(0.5, abs=0.05) and found["chin"] == pytest.approx(0.5, abs=0.05)
    assert found["brows"] == found["eyes"] == 1
    opacity[:] = 0
    opacity[:below_nose, :48] = 0.5  # one eye and one brow behind half a veil
    found = shares(face, opacity)
    assert found["eyes"] == found["brows"] == pytest.approx(0.75) and found["mouth"] == 1


@pytest.mark.parametrize("kind", [*SPRITES, *THINGS])
def test_a_thing_covers_what_its_layer_says_and_nothing_else(kind, face, paints):
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    layer = draw_thing(kind, (SIDE, SIDE), face, paints, np.random.default_rng(3))
    drawn = lay_over(image, layer)
    opacity = layer[..., 3] / 255
    assert (
        layer.shape == (SIDE, SIDE, 4) and 0 <= opacity.min() and 0.02 < opacity.mean() < 0.95 and opacity.max() > 0.8
    )
    np.testing.assert_array_equal(drawn[opacity == 0], 200)
    repeated = draw_thing(kind, (SIDE, SIDE), face, paints, np.random.default_rng(3))
    np.testing.assert_array_equal(repeated, layer)


def test_masks_hide_the_mouth_and_sunglasses_the_eyes(face, paints):
    for kind, hidden, free in (("mask", "mouth", "eyes"), ("sunglasses", "eyes", "mouth")):
        layer = draw_thing(kind, (SIDE, SIDE), face, paints, np.random.default_rng(0))
        found = shares(face, layer[..., 3] / 255)
        assert found[hidden] < 0.3 and found[free] > 0.95


@pytest.mark.parametrize("add", HARMLESS)
def test_what_hides_nothing_changes_the_picture(add, face):
    image = np.full((SIDE, SIDE, 3), 150, np.uint8)
    changed = add(image, face, np.random.default_rng(0))
    assert changed.shape == image.shape and changed.dtype == np.uint8 and (changed != image).any()
