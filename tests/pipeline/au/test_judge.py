"""The judge of visibility: what it gives for a crop depends on that crop alone."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from tclr.pipeline.au import SIGHT, JudgeNetwork, load_judge, save_judge, shrink, standardise, to_input


@pytest.fixture(scope="module")
def judge():
    return load_judge(SIGHT)


@pytest.fixture(scope="module")
def crops():
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    return np.stack([cv2.resize(picture, (64, 64)) for picture in noise])


def test_shares_do_not_depend_on_other_crops_or_threads(judge, crops):
    seen = judge.see(crops)
    assert seen.shape == (40, 5) and seen.dtype == np.float32 and 0 <= seen.min() < seen.max() <= 1
    np.testing.assert_array_equal(np.concatenate([judge.see(crops[:7]), judge.see(crops[7:])]), seen)
    with ThreadPoolExecutor(3) as pool:
        assert all(np.array_equal(again, seen) for again in pool.map(judge.see, [crops] * 6))
    assert judge.see([]).shape == (0, 5)
    assert SIGHT.stat().st_size < 5e5


def test_brightness_and_contrast_of_a_crop_do_not_matter(judge, crops):
    darker = (40 + 0.5 * crops).astype(np.uint8)
    np.testing.assert_allclose(judge.see(darker), judge.see(crops), atol=0.1)
    np.testing.assert_allclose(standardise(crops[:1]).std(), 1, rtol=1e-4)
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
    judge = JudgeNetwork().judge()
    save_judge(judge, tmp_path / "judge.safetensors", {"n_people": "3"})
    np.testing.assert_array_equal(load_judge(tmp_path / "judge.safetensors").see(crops), judge.see(crops))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_judge_sees_what_its_network_does(crops, seed):
    torch.manual_seed(seed)
    network = JudgeNetwork()
    network(to_input(crops)).mean().backward()  # moves the statistics of its norms
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    network.half().float().eval()
    with torch.inference_mode():
        expected = network(to_input(crops)).sigmoid().numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(network.judge().see(crops), expected, atol=1e-5)
