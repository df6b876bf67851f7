import numpy as np
import pytest
import torch
from PIL import Image

from tclr.pipeline.loader_benchmark import bench_codec, bench_step, read_jpegs, write_jpegs
from tclr.pipeline.store import Store
from tclr.schemas.config import PretrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    return make_store(tmp_path_factory.mktemp("bench") / "store", n_subjects=1)


def test_single_jpeg_files_are_resized_cropped_and_normalised(tmp_path):
    grey = np.full((1, 100, 100, 3), 128, np.uint8)
    (path,) = write_jpegs(grey, tmp_path)
    with Image.open(path) as file:
        assert file.format == "JPEG" and file.size == (100, 100)
    (x,) = read_jpegs([path], np.random.default_rng(0))
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert x.shape == (3, 224, 224) and x.dtype == torch.float32
    torch.testing.assert_close(x.mean(dim=(1, 2)), torch.tensor(expected, dtype=torch.float32), atol=0.02, rtol=0)


def test_bench_codec_says_how_many_frames_and_how_many_more_than_single_files(tmp_path, store):
    with Store(store) as opened:
        jpegs = write_jpegs(opened.read_frames(opened.clips[0]), tmp_path)
    row = bench_codec(store, jpegs, "zstd", 2)
    assert row.name == "tuples, codec zstd" and len(row.ratio) == len(row.frames_per_s) == 2
    assert min(row.ratio) > 1  # 32-pixel crops against pictures of 256: an order of magnitude


def test_bench_step_trains_and_gives_a_ratio_a_run(store):
    config = PretrainConfig(
        recipe="paper", image_size=32, n_following=4, batch_size=1, embedding_dim=8, val_share=0, anchors_per_clip=4
    )
    row = bench_step(store, config, 2)
    assert len(row.ratio) == 2 and all(0 < ratio < float("inf") for ratio in row.ratio)
