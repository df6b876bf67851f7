import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tclr.pipeline.encoder import N_DRAWS, EncoderInfo, augment, flipped, to_input
from tclr.schemas.config import PretrainConfig

STILL = {
    "rotation_deg": 0,
    "zoom": 0,
    "tilt": 0,
    "colour_jitter": 0,
    "light_jitter": 0,
    "blur": 0,
    "flip": 0,
    "shift": 1,
}
SIZES = {"image_size": 32, "crop_ratio": 0.8}
WHOLE = EncoderInfo(image_size=40, crop_ratio=1)


def config(**changes):
    return PretrainConfig(**{**STILL, **SIZES, **changes})


def crops(n_tuples=1, n_frames=1, size=40, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (n_tuples * n_frames, size, size, 3)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(picture, (0, 0), 2) for picture in noise])
    stretched = (smooth - smooth.min()) / np.ptp(smooth) * 255
    return torch.from_numpy(stretched.astype(np.uint8)).view(n_tuples, n_frames, size, size, 3)


def draws(n_tuples=1, n_frames=1, seed=0, **set_to):
    values = torch.rand(n_tuples, n_frames, N_DRAWS, generator=torch.Generator().manual_seed(seed))
    for number, value in set_to.items():
        values[..., int(number[1:])] = value
    return values


MIDDLE = torch.full((1, 1, N_DRAWS), 0.5)


@pytest.mark.parametrize("size", [40, 80, 100])
def test_no_augmentation_is_the_transform_of_embedding(size):
    frames, settings = crops(1, 2, size), config(augment="none")
    info = EncoderInfo(image_size=32, crop_ratio=0.8)
    expected = to_input(frames[0], info)
    torch.testing.assert_close(augment(frames, draws(1, 2), settings), expected, rtol=0, atol=1e-5)


def test_input_is_a_part_of_the_crop_at_a_drawn_place():
    frames, whole = crops(), to_input(crops()[0], WHOLE)
    for seed in range(6):
        out = augment(frames, draws(seed=seed), config())[0]
        u = draws(seed=seed)[0, 0]
        left, top = (int(u[i] * 9) for i in (1, 2))
        torch.testing.assert_close(out, whole[0, :, top : top + 32, left : left + 32], rtol=0, atol=1e-5)


def test_shift_bounds_the_displacement():
    whole = to_input(crops()[0], WHOLE)[0]
    places = set()
    for seed in range(40):
        out = augment(crops(), draws(seed=seed), config(shift=0.05))[0]
        same = [
            (top, left) for top in range(9) for left in range(9)
            if torch.allclose(out, whole[:, top : top + 32, left : left + 32], atol=1e-5)
        ]  # fmt: skip
        places |= set(same)
    assert {place[0] for place in places} == {place[1] for place in places} == {2, 3, 4, 5, 6}
    middle = augment(crops(), draws(), config(shift=0))[0]
    torch.testing.assert_close(middle, whole[:, 4:36, 4:36], rtol=0, atol=1e-5)


def test_projective_map_agrees_with_opencv():
    settings = config(rotation_deg=20, zoom=0.1, tilt=0.1, flip=1.0)
    u = draws(seed=3)
    signed = (2 * u[0, 0] - 1).numpy().astype(np.float64)
    scale, stretch = 0.8 * (1 + 0.1 * signed[3]), 1 + 0.05 * signed[4]
    angle = np.radians(20) * signed[5]
    matrix = np.array(
        [
            [-scale * stretch * np.cos(angle), -scale * np.sin(angle), (2 * int(u[0, 0, 1] * 9) - 8) / 40],
            [-scale * stretch * np.sin(angle), scale * np.cos(angle), (2 * int(u[0, 0, 2] * 9) - 8) / 40],
            [0.1 * signed[6], 0.1 * signed[7], 1],
        ]
    )
    to_unit = np.array([[2 / 32, 0, 1 / 32 - 1], [0, 2 / 32, 1 / 32 - 1], [0, 0, 1]])
    to_crop = np.array([[20, 0, 19.5], [0, 20, 19.5], [0, 0, 1]])
    picture = crops()[0, 0].numpy().astype(np.float32) / 255
    expected = cv2.warpPerspective(
        picture, to_crop @ matrix @ to_unit, (32, 32), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    out = augment(crops(), u, settings)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(out, expected, atol=0.02)


def test_flip_mirrors_whole_tuples():
    u, settings = draws(8, 3), config(flip=0.5)
    mirrored = flipped(u, settings)
    assert 0 < mirrored.sum() < 8 and not flipped(u, config(flip=0)).any() and flipped(u, config(flip=1)).all()
    assert not flipped(u, config(flip=1, augment="none")).any()
    u[..., 1:] = 0.5
    out = augment(crops(8, 3), u, settings).view(8, 3, 3, 32, 32)
    plain = augment(crops(8, 3), u, config()).view(8, 3, 3, 32, 32)
    for i in range(8):
        torch.testing.assert_close(out[i], plain[i].flip(-1) if mirrored[i] else plain[i], rtol=0, atol=1e-5)


def test_frames_of_a_tuple_are_changed_alike_or_each_for_itself():
    frames = crops().expand(2, 3, -1, -1, -1)
    settings = {"rotation_deg": 20, "colour_jitter": 0.4, "light_jitter": 0.4, "blur": 0.5}
    alike = augment(frames, draws(2, 3), config(augment="tuple", **settings)).reshape(2, 3, -1)
    assert torch.equal(alike[:, 0], alike[:, 2]) and not torch.equal(alike[0, 0], alike[1, 0])
    each = augment(frames, draws(2, 3), config(augment="frame", **settings)).reshape(2, 3, -1)
    assert not torch.equal(each[0, 0], each[0, 1]) and each.min() >= 0 and each.max() <= 1


def test_result_follows_the_draws_and_not_the_batch():
    frames, u = crops(4, 2), draws(4, 2)
    settings = config(rotation_deg=10, tilt=0.1, zoom=0.1, colour_jitter=0.3, light_jitter=0.3, blur=0.5, flip=0.5)
    whole = augment(frames, u, settings)
    parts = torch.cat([augment(frames[i : i + 1], u[i : i + 1], settings) for i in range(4)])
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-6)
    assert whole.is_contiguous(memory_format=torch.channels_last)


def centred(**set_to):
    u = MIDDLE.clone()
    for number, value in set_to.items():
        u[..., int(number[1:])] = value
    return u


def test_colour_changes_by_its_own_draws():
    plain = augment(crops(), MIDDLE, config())
    settings = config(colour_jitter=0.2)
    brighter = augment(crops(), centred(u9=1.0), settings)
    torch.testing.assert_close(brighter, (plain * np.exp(0.12)).clamp(0, 1), rtol=0, atol=2e-3)
    redder = augment(crops(), centred(u10=1.0), settings)
    assert redder[:, 0].mean() > 1.05 * plain[:, 0].mean()
    torch.testing.assert_close(redder[:, 1:], plain[:, 1:], rtol=0, atol=2e-3)
    darker = augment(crops(), centred(u13=1.0), settings)
    torch.testing.assert_close(darker, plain.clamp(1e-3) ** np.exp(0.2), rtol=0, atol=2e-3)
    flat = augment(crops(), centred(u8=0.0), settings)
    assert flat.std() < 0.9 * plain.std() and abs(flat.mean() - plain.mean()) < 0.01


def test_light_comes_from_one_side():
    out = augment(crops(), centred(u14=0.5, u15=1.0), config(light_jitter=0.5))
    ratio = (out / augment(crops(), MIDDLE, config()).clamp(1e-3)).mean(dim=(0, 1, 2))
    np.testing.assert_allclose(ratio[[0, 31]], [np.exp(-0.5), np.exp(0.5)], rtol=0.1)


def test_blur_is_a_gaussian_on_its_share():
    sharp = augment(crops(), MIDDLE, config())[0].numpy()
    blurred = augment(crops(), centred(u16=0.1, u17=0.6), config(blur=0.2))[0].numpy()
    expected = gaussian_filter(sharp, (0, 0.84, 0.84), mode="mirror", truncate=2 / 0.84)
    np.testing.assert_allclose(blurred, expected, atol=0.02)
    left = augment(crops(), centred(u16=0.3), config(blur=0.2))[0].numpy()
    np.testing.assert_allclose(left, sharp, atol=1e-6)
