import io

import av
import numpy as np
import pytest
from PIL import Image

from tclr.pipeline.sources import find_clips
from tclr.pipeline.video import estimate_frames, is_video_clip, probe, read_frames, read_timeline, sample_frames
from tclr.schemas.config import DEFAULT_LIMITS, DetectConfig, LimitsConfig
from tclr.schemas.errors import InputError, TruncatedError

DURATIONS_MS = [40, 40, 80, 200, 40]
TIMES_S = [0, 0.04, 0.08, 0.16, 0.36]


def pictures(n):
    """Return n pictures of 24 x 16 whose red rises."""
    return [Image.new("RGB", (24, 16), (20 + 50 * number, 120, 60)) for number in range(n)]


def write(path, durations=DURATIONS_MS, **options):
    first, *others = pictures(len(durations))
    first.save(path, save_all=True, append_images=others, duration=durations, **options)
    return media_of(path)


def media_of(path, limits=DEFAULT_LIMITS):
    (clip,) = find_clips(path)
    return probe(clip, 25, limits)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif"])
def test_an_animated_picture_is_a_clip_with_its_own_times(tmp_path, suffix):
    media = write(tmp_path / f"a{suffix}")
    frames = list(read_frames(media))
    assert (media.width, media.height, media.n_expected, media.fps) == (24, 16, 5, 25)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], TIMES_S, atol=1e-9)
    red = [frame.image[..., 0].mean() for frame in frames]
    np.testing.assert_allclose(red, [20, 70, 120, 170, 220], atol=6)  # WebP and AVIF lose some
    assert frames[0].image.shape == (16, 24, 3) and frames[0].image.dtype == np.uint8
    assert read_timeline(media) is None and not is_video_clip(media.clip)


def test_times_and_pictures_of_a_gif_are_those_of_ffmpeg(tmp_path, moving_portrait):
    first, *others = map(Image.fromarray, moving_portrait(6))
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=[0, 20, 20, 30, 70, 50])
    frames = list(read_frames(media_of(tmp_path / "a.gif")))
    with av.open(str(tmp_path / "a.gif")) as container:
        decoded = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert len(frames) == 6
    for frame, (time_s, image) in zip(frames, decoded, strict=True):
        assert abs(frame.timestamp_s - time_s) < 1e-9
        np.testing.assert_array_equal(frame.image, image)


def test_an_animation_is_resampled_by_time_and_sampled(tmp_path):
    media = write(tmp_path / "a.webp")
    assert [frame.index for frame in read_frames(media, fps=5)] == [0, 3, 4]
    assert [frame.index for frame in sample_frames(media, 2)] == [0, 2]
    assert estimate_frames(media.clip, DetectConfig(), DEFAULT_LIMITS) == 5


def test_the_stand_in_of_an_apng_is_not_shown(tmp_path):
    first, *others = pictures(3)
    first.save(tmp_path / "a.png", save_all=True, default_image=True, append_images=others, duration=[40, 80])
    frames = list(read_frames(media_of(tmp_path / "a.png")))
    assert [(frame.timestamp_s, frame.image[0, 0, 0]) for frame in frames] == [(0, 70), (0.04, 120)]


def test_a_truncated_animation_is_told_after_what_is_there(tmp_path, moving_portrait):
    buffer = io.BytesIO()
    first, *others = map(Image.fromarray, moving_portrait(5))
    first.save(buffer, "PNG", save_all=True, append_images=others, duration=40)
    path = tmp_path / "a.png"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 6 // 10])
    frames = []
    with pytest.raises(TruncatedError, match="Expected 5 frames, but the picture ends after"):
        frames.extend(read_frames(media_of(path)))
    path.write_bytes(b"GIF89a")
    with pytest.raises(InputError):
        list(read_frames(media_of(path)))


def test_limits_hold_for_animations(tmp_path):
    write(tmp_path / "a.gif")
    with pytest.raises(InputError, match="at most 4 frames"):
        media_of(tmp_path / "a.gif", LimitsConfig(max_frames=4))
    with pytest.raises(InputError, match="24 x 16 pixels"):
        media_of(tmp_path / "a.gif", LimitsConfig(max_megapixels=0.0001))
