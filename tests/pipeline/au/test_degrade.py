import cv2
import numpy as np
import pytest

from tclr.pipeline.au.inputs.degrade import WAYS, add_noise, change_background, coarsen, compress, degrade, hide, smear


@pytest.fixture(scope="module")
def crop(portrait):
    return cv2.resize(portrait[10:210, 120:320], (96, 96), interpolation=cv2.INTER_AREA)


def fine_detail(picture):
    return cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var()


@pytest.mark.parametrize("way", WAYS)
def test_each_way_changes_the_crop_and_nothing_of_its_form(crop, way):
    before = crop.copy()
    out = way(crop, np.random.default_rng(1))
    assert out.shape == crop.shape and out.dtype == np.uint8 and np.array_equal(crop, before)
    assert not np.array_equal(out, crop)


@pytest.mark.parametrize("way", [coarsen, smear])
def test_coarse_and_smeared_crops_lose_fine_detail_and_keep_their_brightness(crop, way):
    outs = [way(crop, np.random.default_rng(seed)) for seed in range(20)]
    assert np.mean([fine_detail(out) for out in outs]) < 0.6 * fine_detail(crop)
    assert np.mean([abs(out.mean() - crop.mean()) for out in outs]) < 2


def test_compression_and_noise_stay_near_the_crop(crop):
    for seed in range(10):
        for way, most in ((compress, 15), (add_noise, 17)):
            error = way(crop, np.random.default_rng(seed)).astype(float) - crop
            assert 0.3 < np.sqrt((error**2).mean()) < most


def test_hidden_part_is_small_and_background_leaves_the_face(crop):
    for seed in range(20):
        changed = (hide(crop, np.random.default_rng(seed)) != crop).any(axis=2)
        assert changed.mean() < 0.11  # pi * 0.18^2
        outside = (change_background(crop, np.random.default_rng(seed)) != crop).any(axis=2)
        assert not outside[30:80, 30:66].any() and outside[:8, :8].all() and outside[:8, -8:].all()


def test_what_happens_to_a_crop_follows_from_its_seed_alone(crop):
    crops = np.stack([crop] * 60)
    seeds = np.arange(60)
    out = degrade(crops, 0.5, seeds)
    assert np.array_equal(degrade(crops[::-1], 0.5, seeds[::-1]), out[::-1])
    untouched = [np.array_equal(one, crop) for one in out]
    assert 20 < sum(untouched) < 45  # half of them, and the few of the others that no way is done to
    assert np.array_equal(degrade(crops, 0.0, seeds), crops)
    assert len(np.unique(out.reshape(60, -1), axis=0)) == 61 - sum(untouched)
