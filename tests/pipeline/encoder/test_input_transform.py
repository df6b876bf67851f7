import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tclr.pipeline.encoder import EncoderInfo, normalise, to_input
from tclr.pipeline.encoder.input_transform import centre_crop, resize, resized_side


def pictures(size=48, n=3):
    noise = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)
    return np.stack([noise[0], *(cv2.GaussianBlur(picture, (0, 0), 3) for picture in noise[1:])])


@pytest.mark.parametrize("side", [20, 36, 48, 70])
def test_crops_are_resized_as_pillow_does(side):
    frames = pictures()
    ours = resize(torch.from_numpy(frames), side)
    assert ours.shape == (3, 3, side, side) and ours.dtype == torch.uint8
    for picture, frame in zip(ours.permute(0, 2, 3, 1).numpy(), frames, strict=True):
        theirs = np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR))
        assert np.abs(picture.astype(int) - theirs).max() <= 1


def test_resized_bytes_are_resized_floats_but_for_rounding():
    frames = torch.from_numpy(pictures())
    floats = torch.nn.functional.interpolate(
        frames.permute(0, 3, 1, 2).double(), size=(36, 36), mode="bilinear", antialias=True
    )
    assert (resize(frames, 36) - floats).abs().max() < 1.01  # rounded twice: across, then down


def test_input_is_the_middle_of_the_resized_crop():
    info = EncoderInfo(image_size=32, crop_ratio=0.8)
    assert resized_side(info) == 40
    frames = torch.from_numpy(pictures())
    x = to_input(frames, info)
    assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x * 255, resize(frames, 40)[..., 4:36, 4:36].float())


def test_centre_crop_takes_the_middle():
    x = torch.arange(25.0).view(1, 1, 5, 5)
    assert centre_crop(x, 3).flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("n", [0, 2])
def test_normalise_takes_each_channel_by_its_own_numbers(layout, n):
    info = EncoderInfo(mean=(0.5, 0.25, 0.125), std=(0.5, 1.0, 2.0))
    x = torch.rand(n, 3, 5, 7).contiguous(memory_format=layout)
    out = normalise(x, info)
    assert out.shape == x.shape and out.is_contiguous(memory_format=torch.channels_last)
    for channel, (mean, std) in enumerate(zip(info.mean, info.std, strict=True)):
        torch.testing.assert_close(out[:, channel], (x[:, channel] - mean) / std)
