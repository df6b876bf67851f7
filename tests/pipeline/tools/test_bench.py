import json

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from tclr.cli.main import cli
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.store import Store
from tclr.pipeline.system import markdown_table
from tclr.pipeline.tools.bench import HEADERS, export, run_groups, task_costs, to_record
from tclr.pipeline.tools.bench.loader import bench_codec, bench_step, read_jpegs, write_jpegs
from tclr.pipeline.tools.bench.memory import measure_peak_mb
from tclr.pipeline.tools.bench.preprocess import bench_preprocess
from tclr.pipeline.tools.bench.rows import BenchRow
from tclr.pipeline.tools.bench.scaling import DATASET_SHAPES, DatasetShape, Overheads, TaskCosts, predict, simulate
from tclr.pipeline.tools.synth import write_demo
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
        jpegs = write_jpegs(opened.read_crops(opened.clips[0]), tmp_path)
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
    assert markdown_table(HEADERS, [row.cells() for row in rows]).splitlines()[4].startswith("| d \\| e |")
    record = json.loads(json.dumps(to_record(rows, 3)))
    assert record["rows"][0]["median"] == 1 and record["machine"]["cores"] and record["machine"]["packages"]["torch"]


def test_peak_memory_is_that_of_the_work_in_a_process_of_its_own():
    few, many = (measure_peak_mb(bytearray, n_mb * 2**20) for n_mb in (1, 200))
    assert 190 < many - few < 230


def test_unknown_rows_are_an_error(tmp_path):
    with pytest.raises(SettingError, match="Unknown rows 'speed'. Known rows: startup, preprocess"):
        next(run_groups(["speed"], None, tmp_path, 1))


@pytest.mark.slow
def test_preprocessing_is_measured_on_clusters(tmp_path):
    write_demo(tmp_path / "clips", subjects=2, tasks=1, frames=10, size_px=160)
    rows = bench_preprocess(tmp_path / "clips", tmp_path, 1)
    assert [len(row.values) for row in rows] == [1] * 6 and all(0 < row.median < 1000 for row in rows)
    assert "mediapipe" in rows[1].against and rows[2].unit == "frames/s"
    with Store(tmp_path / "warm one") as cut_again, Store(tmp_path / "0 two") as by_two:
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


COSTS = TaskCosts(frame_s=0.5, clip_s=1.0, joined_frame_s=0.1, read_bytes=3.0, stored_bytes=2.0)
FREE = Overheads(start_s=0, worker_s=0, warm_s=0, task_s=0, clip_s=0)


def test_one_simulated_worker_takes_the_sum_of_all_tasks():
    subjects = [[10, 20], [4]]
    overheads = Overheads(start_s=3, worker_s=100, warm_s=2, task_s=0, clip_s=0.5)
    tasks = 34 * 0.5 + 3 * 1.0 + 34 * 0.1
    seconds, busy = simulate(subjects, COSTS, overheads, 1)
    assert seconds == pytest.approx(3 + 3 * 0.5 + 2 + tasks) and busy == pytest.approx(tasks / seconds)


@pytest.mark.parametrize("workers", [2, 9])
def test_simulated_workers_share_clips_and_join_a_subject_when_its_clips_are_there(workers):
    seconds, _ = simulate([[10, 20]], COSTS, FREE, workers)
    assert seconds == pytest.approx(11 + 3)  # the longer clip, then all 30 frames


def test_simulated_subjects_are_joined_before_other_clips():
    seconds, _ = simulate([[10], [10], [100]], COSTS, FREE, 2)
    assert seconds == pytest.approx(6 + 1 + 51 + 10)  # two clips, their subjects, and only then the long clip


def test_a_scheduler_that_is_slower_than_the_workers_decides():
    overheads = Overheads(start_s=0, worker_s=0, warm_s=0, task_s=2.0, clip_s=0)
    seconds, busy = simulate([[0]] * 100, COSTS, overheads, 50)
    assert 200 <= seconds <= 410 and busy < 0.02


def test_workers_of_a_cluster_are_there_and_local_ones_are_started():
    overheads = Overheads(start_s=1, worker_s=5, warm_s=0, task_s=0, clip_s=0)
    times = [simulate([[0]] * 2, COSTS, overheads, 2, local=local)[0] for local in (True, False)]
    assert times == pytest.approx([1 + 5 + 1, 1 + 1])


def test_datasets_are_as_large_as_they_are_and_predictions_count_bytes_and_money():
    frames = {shape.name: sum(map(sum, shape.draw())) for shape in DATASET_SHAPES}
    assert frames["BP4D"] == pytest.approx(146_847, rel=0.05) and frames["DISFA"] == 27 * 4845
    assert frames["VoxCeleb2"] == pytest.approx(2442 * 3600 * 25, rel=0.01)
    assert all(len(shape.draw()) == shape.subjects for shape in DATASET_SHAPES)
    disfa = predict(DATASET_SHAPES[1], COSTS, FREE, 27)
    assert disfa.seconds == pytest.approx(1 + 4845 * 0.6) and disfa.busy == pytest.approx(1)
    assert disfa.stored_gb == pytest.approx(27 * 4845 * 2 / 1e9)
    assert disfa.disk_mb_s == pytest.approx(27 * 4845 * (3 + 3 * 2) / disfa.seconds / 1e6)
    assert disfa.core_hours == pytest.approx(27 * disfa.seconds / 3600)
    assert disfa.cells(2.0)[2:6] == ["48.5 min", "1.00", f"{disfa.core_hours:.1f}", f"{2 * disfa.core_hours:.2f}"]


@pytest.mark.slow
def test_costs_are_measured_checked_by_real_runs_and_told(tmp_path, monkeypatch):
    def timed(work):  # a clock that no other process disturbs: 0.25 s a clip, 0.5 s a frame, 9 s a subject
        outcome = work()
        assert not outcome.reason
        return 9.0 if outcome.infos else 0.25 + 0.5 * outcome.n_frames

    monkeypatch.setattr(task_costs, "_timed", timed)  # nested, so sent to the worker as it is
    monkeypatch.setattr(task_costs, "DATASET_SHAPES", (DatasetShape("tiny", 2, 4, (5, 9), 176, 160, "video", "lz4"),))
    monkeypatch.setattr(task_costs, "SAMPLE_LENGTHS", (6, 12))
    monkeypatch.setattr(task_costs, "N_TASKS", 20)
    monkeypatch.setattr(task_costs, "N_CLIPS", (2, 6))
    write_demo(tmp_path / "demo", subjects=1, tasks=1, frames=10, size_px=160)
    arguments = ["--scaling", "--source", f"{tmp_path}/demo", "--runs", "1", "-o", f"{tmp_path}/s.json"]
    result = CliRunner().invoke(cli, ["bench", *arguments, "--markdown", f"{tmp_path}/s.md"])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "s.json").read_text())
    assert list(record) == ["machine", "runs", "price", "overheads", "costs", "checks", "predictions"]
    (costs,) = record["costs"].values()
    assert [costs[name] for name in ("frame_s", "clip_s", "joined_frame_s")] == pytest.approx([0.5, 0.25, 9 / 18])
    assert costs["stored_bytes"] > 1000 and costs["read_bytes"] > 0
    assert [check["workers"] for check in record["checks"]] == [1, 2]
    assert [(p["dataset"], p["workers"]) for p in record["predictions"]] == [("tiny", n) for n in (1, 16, 256)]
    assert record["overheads"]["task_s"] > 0 and record["overheads"]["start_s"] > 0
    work_s = 4 * (2 * 0.25 + 18 * (0.5 + 0.5))  # four subjects of two clips, spread over the workers
    assert all(check["predicted_s"] > work_s / check["workers"] and check["seconds"] > 0 for check in record["checks"])
    assert (tmp_path / "s.md").read_text().count("| tiny |") == 6
