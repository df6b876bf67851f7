import struct

import av
import cv2
import numpy as np
import pytest

from tclr.pipeline.video import probe, read_frames
from tclr.schemas.errors import InputError, TruncatedError


def flat(n_frames, height=64, width=96):
    """Frames whose grey level tells their index."""
    return [np.full((height, width, 3), 20 + 4 * i, np.uint8) for i in range(n_frames)]


def read(path, image_fps=25.0):
    return list(read_frames(probe(path, image_fps)))


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
        probe(path, 25)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no video stream"):
        probe(tmp_path / "sound.mp4", 25)


def test_probe_refuses_a_folder_without_numbered_images(tmp_path):
    with pytest.raises(InputError, match="numbered images"):
        probe(tmp_path, 25)


def noise(n_frames):
    return list(np.random.default_rng(0).integers(0, 255, (n_frames, 64, 96, 3), np.uint8))


def test_read_frames_tells_a_truncated_video_after_giving_what_is_there(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", noise(40), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen = []
    with pytest.raises(TruncatedError, match=r"Expected 40 frames, but the video ends after \d+"):
        for frame in read_frames(probe(path, 25)):
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
    assert set(times) <= {frame.timestamp_s for frame in sound} and len(damaged) >= 38
