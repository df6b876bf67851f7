"""What a run tells before its work: what is passed over, what is a sequence, and the disk that it takes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tclr.pipeline.preprocessing import preprocess
from tclr.pipeline.preprocessing.forecast import DiskUse, forecast_disk_use, format_bytes
from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.video import estimate_frames
from tclr.schemas.config import DEFAULT_LIMITS, AlignConfig, DetectConfig, PreprocessConfig

GREY = np.full((48, 64, 3), 90, np.uint8)


def write_sequence(folder, n_images):
    folder.mkdir(parents=True)
    for number in range(n_images):
        Image.fromarray(GREY).save(folder / f"{number}.jpg")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_frames_of_a_video_are_estimated_from_its_header(tmp_path, write_video, suffix):
    path = write_video(tmp_path / f"a{suffix}", [GREY] * 50, fps=25)

    def estimate(fps=0.0, start_s=0.0, end_s=math.inf):
        clip = Clip("folder", "a", "a", path, path.name, start_s=start_s, end_s=end_s)
        return estimate_frames(clip, DetectConfig(fps=fps), DEFAULT_LIMITS)

    assert abs(estimate() - 50) <= 1
    assert abs(estimate(fps=5) - 10) <= 0.2 and abs(estimate(fps=60) - 50) <= 1
    assert abs(estimate(start_s=0.4, end_s=1.2) - 20) <= 1 and abs(estimate(start_s=1) - 25) <= 1
    assert estimate(start_s=9) == 0


def test_disk_use_counts_clips_whose_headers_are_not_read(tmp_path, monkeypatch):
    from tclr.pipeline.preprocessing import forecast

    for number in range(10):
        write_sequence(tmp_path / "anna" / f"seq{number}", 3)
    (tmp_path / "anna" / "damaged.mp4").write_text("no video")
    monkeypatch.setattr(forecast, "MOST_HEADERS", 4)
    disk_use = forecast_disk_use(tmp_path, find_clips(tmp_path), PreprocessConfig(align=AlignConfig(size=112)))
    assert disk_use.n_frames == 33
    assert disk_use.n_bytes == 33 * disk_use.frame_bytes and 20_000 < disk_use.frame_bytes < 35_000
    assert list(disk_use.thrift) == ["--codec jpeg", "--no-frames"]


def test_a_disk_with_too_little_room_is_a_warning(caplog):
    thrift = {"--codec jpeg": 22e3}
    DiskUse(1000, 1e5, thrift, free_bytes=2 * 10**8).check(Path("store"))
    assert not caplog.records
    disk_use = DiskUse(1000, 1e5, thrift, free_bytes=10**7)
    disk_use.check(Path("store"))
    assert "about 100 MB of free disk, but only 10 MB are free at store" in caplog.text
    assert disk_use.describe() == "Disk: about 100 MB for 1,000 frames, 100 kB per frame. Less: --codec jpeg 22 kB."


@pytest.mark.parametrize(("n_bytes", "text"), [(5600, "6 kB"), (1.26e6, "1.3 MB"), (4.7e12, "4.7 TB"), (4e10, "40 GB")])
def test_format_bytes_rounds(n_bytes, text):
    assert format_bytes(n_bytes) == text


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A sequence, an animation, a note and a link to nothing."""
    root = tmp_path_factory.mktemp("source")
    write_sequence(root / "anna" / "seq", 3)
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    first.save(root / "anna" / "smile.gif", save_all=True, append_images=[second], duration=40)
    (root / "anna" / "notes.txt").write_text("note")
    (root / "anna" / "gone.mp4").symlink_to("nowhere.mp4")
    return root


CONFIG = PreprocessConfig(align=AlignConfig(size=32))


def test_a_run_tells_what_it_found_before_its_work(tmp_path, source):
    lines = []
    result = preprocess(source, tmp_path / "store", CONFIG, workers=1, inform=lines.append)
    assert lines == [
        "2 files passed over: 1 .txt, 1 link to nothing (anna/gone.mp4)",
        "1 folder is read as an image sequence at 25 frames/s (--image-fps); --stills reads each picture by itself",
        "Disk: about 41 kB for 5 frames, 8 kB per frame.",
    ]
    assert (result.n_clips, result.n_frames) == (2, 5)
    record = json.loads((tmp_path / "store" / "run.json").read_text())
    assert record["passed_over"] == result.passed_over == {".txt": 1, "link to nothing": 1}
    assert record["stills"] is False
    lines.clear()
    preprocess(source, tmp_path / "store", CONFIG, workers=1, inform=lines.append)
    assert not any("Disk" in line for line in lines)  # nothing is to be done


def test_a_store_with_pseudonyms_has_no_word_of_the_source(tmp_path, source):
    key = tmp_path / "study.key"
    preprocess(source, tmp_path / "store", CONFIG, key_file=key, workers=1)
    assert json.loads((tmp_path / "store" / "run.json").read_text())["passed_over"] is None


def test_stills_are_clips_of_their_own(tmp_path, source):
    config = PreprocessConfig(align=AlignConfig(size=32), stills=True)
    result = preprocess(source, tmp_path / "store", config, workers=1)
    assert (result.n_clips, result.n_frames) == (4, 5)
