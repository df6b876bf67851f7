import struct

import av
import cv2
import numpy as np
import pytest

from tclr.pipeline.sources import Clip
from tclr.pipeline.video import Frame, probe, read_frames, resample
from tclr.schemas.errors import InputError, TruncatedError


def flat(n_frames, height=64, width=96):
    """Frames whose grey level tells their index."""
    return [np.full((height, width, 3), 20 + 4 * i, np.uint8) for i in range(n_frames)]


def clip_of(path, **changes):
    return Clip("folder", "s", "c", path, path.name, **changes)


def read(path, fps=0, **changes):
    return list(read_frames(probe(clip_of(path, **changes), 25), fps))


def test_read_frames_of_a_constant_rate_video(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", flat(30), fps=30)
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], np.arange(30) / 30, atol=1e-4)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 + 4 * np.arange(30), atol=3)
    assert frames[0].image.shape == (64, 96, 3) and frames[0].image.dtype == np.uint8


def test_read_frames_keeps_a_variable_rate(tmp_path, write_video):
    pts_ms = [0, 40, 80, 200, 210, 500, 900]
    path = write_video(tmp_path / "a.mkv", flat(7), pts_ms=pts_ms)
    np.testing.assert_allclose([frame.timestamp_s for frame in read(path)], np.array(pts_ms) / 1000, atol=1e-6)


def test_read_frames_counts_time_from_the_first_frame(tmp_path, write_video):
    path = write_video(tmp_path / "a.mkv", flat(3), pts_ms=[1000, 1040, 1080])
    np.testing.assert_allclose([frame.timestamp_s for frame in read(path)], [0, 0.04, 0.08], atol=1e-6)


def test_read_frames_applies_the_display_rotation(tmp_path, write_video):
    images = flat(3)
    for image in images:
        image[:20, :30] = (255, 0, 0)  # red in the upper left corner
    path = write_video(tmp_path / "a.mp4", images)
    data = bytearray(path.read_bytes())
    matrix = data.find(b"tkhd") + 4 + 40
    # "rotate 90 degrees clockwise for display", as phones write it
    one = 0x10000
    struct.pack_into(">9i", data, matrix, 0, one, 0, -one, 0, 0, 64 * one, 0, 0x40000000)
    path.write_bytes(data)
    image = read(path)[1].image
    assert image.shape == (96, 64, 3)
    assert image[:20, -15:, 0].mean() > 180 and image[:20, -15:, 2].mean() < 100  # now in the upper right


def test_read_frames_of_numbered_images_takes_index_and_time_from_the_name(tmp_path):
    for number in (286, 287, 290):
        cv2.imwrite(str(tmp_path / f"{number:04d}.png"), np.full((8, 9, 3), number - 200, np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    frames = read(tmp_path)
    assert [frame.index for frame in frames] == [286, 287, 290]
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], [0, 0.04, 0.16])
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [86, 87, 90]


def test_read_frames_keeps_the_place_of_an_unreadable_image(tmp_path):
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "2.png").write_bytes(b"no image")
    assert [frame.image is None for frame in read(tmp_path)] == [False, True, False]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((4, 4), 77, np.uint8), (77, 77, 77)),
        (np.full((4, 4, 3), 200 * 256, np.uint16), (200, 200, 200)),
        (np.dstack([np.full((4, 4), v, np.uint8) for v in (30, 20, 10, 128)]), (10, 20, 30)),
    ],
    ids=["grey", "16-bit", "alpha"],
)
def test_read_frames_gives_8_bit_rgb_for_any_png(tmp_path, pixels, expected):
    path = tmp_path / "still.png"
    cv2.imwrite(str(path), pixels)
    (frame,) = read(path)
    assert frame.image.dtype == np.uint8 and tuple(frame.image[1, 1]) == expected


def test_probe_refuses_what_is_not_a_video(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("this is no video")
    with pytest.raises(InputError, match=r"cannot decode .*text.mp4"):
        probe(clip_of(path), 25)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no video stream"):
        probe(clip_of(tmp_path / "sound.mp4"), 25)


def test_probe_refuses_a_folder_without_numbered_images(tmp_path):
    with pytest.raises(InputError, match="numbered images"):
        probe(clip_of(tmp_path), 25)


def noise(n_frames):
    return list(np.random.default_rng(0).integers(0, 255, (n_frames, 64, 96, 3), np.uint8))


def test_read_frames_tells_a_truncated_video_after_giving_what_is_there(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", noise(40), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen = []
    with pytest.raises(TruncatedError, match=r"Expected 40 frames, but the video ends after \d+"):
        for frame in read_frames(probe(clip_of(path), 25)):
            seen.append(frame)
    assert 10 < len(seen) < 30


def test_read_frames_keeps_every_row_and_time_around_damage(tmp_path, write_video):
    options = {"movflags": "faststart"}
    path = write_video(tmp_path / "a.mp4", noise(40), codec="mpeg4", options=options)
    sound = read(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    damaged = read(path)
    times = [frame.timestamp_s for frame in damaged]
    assert times == sorted(times)
    assert all(frame.timestamp_s == pytest.approx(sound[frame.index].timestamp_s) for frame in damaged)
    assert len(damaged) >= 38


def test_read_frames_takes_a_part_by_time(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", flat(30), fps=10)
    frames = read(path, start_s=0.95, end_s=2.0)
    assert [frame.index for frame in frames] == list(range(10, 20))
    np.testing.assert_allclose(frames[0].timestamp_s, 0.05, atol=1e-4)


def slow_nearest(times, fps):
    """The frame nearest to each tick, each frame once."""
    ticks = np.arange(0, times[-1] + 0.5 / fps + 1e-9, 1 / fps)
    return sorted({int(np.argmin(np.abs(times - tick))) for tick in ticks})


@pytest.mark.parametrize("fps", [2, 7, 10, 12.5, 25, 60])
def test_resample_picks_the_frame_nearest_to_each_tick(fps):
    rng = np.random.default_rng(1)
    for _ in range(20):
        times = np.concatenate([[0], np.cumsum(rng.uniform(0.01, 0.2, 40))])
        frames = [Frame(i, time, None) for i, time in enumerate(times)]
        assert [frame.index for frame in resample(iter(frames), fps)] == slow_nearest(times, fps)


def test_fps_resamples_a_variable_rate_by_time_never_by_counting(tmp_path, write_video):
    pts_ms = [0, 10, 20, 30, 100, 200, 210, 300, 400, 405, 500]
    path = write_video(tmp_path / "a.mkv", flat(11), pts_ms=pts_ms)
    frames = read(path, fps=10)
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], [0, 0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-6)
    assert [frame.index for frame in frames] == [0, 4, 5, 7, 8, 10]
    assert len(read(path, fps=0)) == 11 and len(read(path, fps=1000)) == 11


def test_stills_are_numbered_and_have_no_time(tmp_path):
    paths = []
    for name in ("x.png", "y.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
        paths.append(tmp_path / name)
    frames = read(tmp_path, stills=tuple(paths), first=1000)
    assert [(frame.index, frame.timestamp_s) for frame in frames] == [(1000, 0), (1001, 0)]


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_truncated_video_without_a_frame_count_is_told_by_its_duration(tmp_path, write_video, suffix):
    codec = "libvpx" if suffix == ".webm" else "libx264"
    path = write_video(tmp_path / f"a{suffix}", noise(60), codec=codec)
    assert len(read(path)) == 60
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TruncatedError, match=r"Expected 2\.\d+ s, but the video ends after"):
        read(path)


def test_a_part_past_the_end_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", flat(10), fps=10)
    with pytest.raises(InputError, match="Expected frames from 50 to 60 s, but the video ends at 0.9 s"):
        read(path, start_s=50, end_s=60)
