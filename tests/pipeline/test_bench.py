import json

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from tclr.cli.main import cli
from tclr.pipeline.bench import BenchRow, export, run_groups, to_markdown, to_record
from tclr.pipeline.bench.loader import bench_codec, bench_step, read_jpegs, write_jpegs
from tclr.pipeline.bench.memory import measure_peak_mb
from tclr.pipeline.bench.preprocess import bench_preprocess
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.store import Store
from tclr.pipeline.synth import write_demo
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import SettingError

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
    assert row.name == "tuples, codec zstd" and len(row.values) == len(row.rates) == 2
    assert min(row.values) > 1  # 32-pixel crops against pictures of 256: an order of magnitude


def test_bench_step_trains_and_gives_a_ratio_a_run(store):
    config = PretrainConfig(
        recipe="paper", image_size=32, n_following=4, batch_size=1, embedding_dim=8, val_share=0, anchors_per_clip=4
    )
    row = bench_step(store, config, 2)
    assert len(row.values) == 2 and all(0 < ratio < float("inf") for ratio in row.values)


def test_rows_say_whether_they_are_where_they_should_be(tmp_path):
    rows = [
        BenchRow("a", "b", (0.9, 1.0, 2.0), at_least=0.95, rates=(10.0, 20.0, 1234.0)),
        BenchRow("c", "", (0.9, 1.0, 2.0), "s", at_most=0.95),
        BenchRow("d | e", "", (7.0,), "MB"),
    ]
    assert [row.reached for row in rows] == [True, False, None]
    assert rows[0].cells() == ["a", "b", "1", "0.9", "2", ">= 0.95", "yes", "20"]
    assert rows[1].cells() == ["c", "", "1 s", "0.9", "2", "<= 0.95", "no", ""]
    assert to_markdown(rows).splitlines()[4].startswith("| d \\| e |")
    record = json.loads(json.dumps(to_record(rows, 3)))
    assert record["rows"][0]["median"] == 1 and record["machine"]["cores"] and record["machine"]["packages"]["torch"]


def test_peak_memory_is_that_of_the_work_in_a_process_of_its_own():
    few, many = (measure_peak_mb(bytearray, n_mb * 2**20) for n_mb in (1, 200))
    assert 190 < many - few < 230


def test_unknown_rows_are_an_error(tmp_path):
    with pytest.raises(SettingError, match="Unknown rows 'speed'. Known rows: startup, preprocess"):
        next(run_groups(["speed"], None, tmp_path, 1))


def test_preprocessing_is_measured_on_clusters(tmp_path):
    write_demo(tmp_path / "clips", subjects=2, tasks=1, frames=10, size_px=160)
    rows = bench_preprocess(tmp_path / "clips", tmp_path, 1)
    assert [len(row.values) for row in rows] == [1, 1, 1] and all(0 < row.median < 100 for row in rows)
    with Store(tmp_path / "warm0") as cut_again, Store(tmp_path / "0-1") as by_two:
        assert len(by_two.clips) == 2 and cut_again.crop_size() == 192


def test_export_is_measured_on_every_frame_and_a_million_rows(tmp_path, store, monkeypatch):
    monkeypatch.setattr(export, "N_ROWS", 4_000)
    monkeypatch.setattr(export, "ROWS_A_CLIP", 1_000)
    encoder = load_encoder("random", image_size=32, embedding_dim=8)
    row = export.bench_embed(store, encoder, tmp_path, 2)
    assert len(row.values) == 2 and "network alone" in row.against
    written, pandas_s, load_s = export.bench_tables(tmp_path, 2)
    assert pandas_s.at_most == 1 and "17 AUs of 4,000 rows" in pandas_s.name and min(written.values) > 1_000
    assert len(pd.read_parquet(tmp_path / "million")) == 4_000


def test_command_prints_and_writes_the_table(tmp_path):
    arguments = [
        "bench",
        "--rows",
        "startup",
        "--runs",
        "2",
        "-o",
        f"{tmp_path}/b.json",
        "--markdown",
        f"{tmp_path}/b.md",
    ]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0 and "tclr --help" in result.output
    assert len(json.loads((tmp_path / "b.json").read_text())["rows"][0]["values"]) == 2
    assert (tmp_path / "b.md").read_text().startswith("| what |")
