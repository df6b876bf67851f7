"""The judge of visibility: what it gives for a crop depends on that crop alone."""

import cv2
import numpy as np
import pytest
import torch

from tclr.pipeline.au import SIGHT, Judge, load_judge, save_judge, shrink, to_input


@pytest.fixture(scope="module")
def judge():
    return load_judge(SIGHT)


@pytest.fixture(scope="module")
def crops():
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    return np.stack([cv2.resize(picture, (64, 64)) for picture in noise])


def test_shares_do_not_depend_on_other_crops_or_threads(judge, crops, one_thread):
    seen = judge.see(crops)
    assert seen.shape == (40, 5) and seen.dtype == np.float32 and 0 <= seen.min() < seen.max() <= 1
    np.testing.assert_array_equal(np.concatenate([judge.see(crops[:7]), judge.see(crops[7:])]), seen)
    torch.set_num_threads(2)
    np.testing.assert_array_equal(judge.see(crops), seen)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert judge.see([]).shape == (0, 5)
    assert SIGHT.stat().st_size < 5e5


def test_brightness_and_contrast_of_a_crop_do_not_matter(judge, crops):
    darker = (40 + 0.5 * crops).astype(np.uint8)
    np.testing.assert_allclose(judge.see(darker), judge.see(crops), atol=0.1)
    np.testing.assert_allclose(to_input(crops[:1]).numpy().std(), 1, rtol=1e-4)
    assert np.isfinite(judge.see(np.zeros((1, 64, 64, 3), np.uint8))).all()


@pytest.mark.parametrize("side", [32, 64, 96, 160, 223, 224])
def test_shrink_keeps_the_place_of_things(side):
    crop = np.zeros((side, side, 3), np.uint8)
    crop[side // 2 :] = 200
    small = shrink(crop).astype(float)
    assert small.shape == (64, 64, 3)
    np.testing.assert_allclose(small[:30], 0)
    np.testing.assert_allclose(small[34:], 200)


def test_a_judge_is_the_same_after_writing(tmp_path, crops):
    judge = Judge().half().float().eval()
    save_judge(judge, tmp_path / "judge.safetensors", {"n_people": "3"})
    np.testing.assert_array_equal(load_judge(tmp_path / "judge.safetensors").see(crops), judge.see(crops))
