"""Several processes train as one does: same losses, same weights, same batch statistics; here two, on the CPU."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tclr.pipeline.pretraining import Processes, pretrain
from tclr.pipeline.pretraining.processes import plan_steps
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import SettingError

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = PretrainConfig(
    recipe="paper",
    epochs=1, batch_size=4, anchors_per_clip=3, n_following=4, image_size=32, crop_ratio=0.8, embedding_dim=8,
    learning_rate=0.003, val_share=0.3, optimizer="adamw", schedule="cosine", grad_clip=5,
)  # fmt: skip
# 6 tuples an epoch, in steps of 4 and 2; then 9 in micro-batches of 2, of whose last the second process has none.
CHANGES = [{}, {"val_share": 0, "accumulate": 2, "optimizer": "sgd", "grad_clip": 0}]
OURS = PretrainConfig(
    epochs=1, batch_size=4, anchors_per_clip=3, image_size=32, crop_ratio=0.8, embedding_dim=8, val_share=0.3,
    geometry_components=8,
)  # fmt: skip

IN_TWO_PROCESSES = """
import json, sys
from pathlib import Path
import torch, torch.distributed as dist
from tclr.pipeline.pretraining.processes import Processes, plan_steps
from tclr.pipeline.pretraining import pretrain
from tclr.schemas.config import PretrainConfig

rank, store, runs, rendezvous, configs = int(sys.argv[1]), *sys.argv[2:]
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
for i, config in enumerate(json.loads(configs)):
    result = pretrain(Path(store), Path(runs) / str(i), PretrainConfig(**config))
    print(result.is_main, len(result.history))
dist.destroy_process_group()
"""


@pytest.fixture
def double_precision():
    """Rounding of float32 flips hinges at random within a few steps; in float64 what differs is a defect."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    return make_store(tmp_path_factory.mktemp("processes") / "store", n_frames=24)


def history(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path, store, double_precision):
    configs = [*(CONFIG.model_copy(update=change) for change in CHANGES), OURS]
    values = json.dumps([config.model_dump() for config in configs])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", IN_TWO_PROCESSES, str(rank), store, tmp_path / "two", tmp_path / "meet", values],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for i, config in enumerate(configs):
        pretrain(store, tmp_path / "one" / str(i), config)
    for process, is_main in zip(started, (True, False), strict=True):
        output, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        assert output.splitlines() == [f"{is_main} {config.epochs}" for config in configs]
    for i in range(len(configs)):
        one, two = tmp_path / "one" / str(i), tmp_path / "two" / str(i)
        for expected, line in zip(history(one), history(two), strict=True):
            numbers = [name for name, value in expected.items() if isinstance(value, float) and name != "tuples_per_s"]
            assert {"train_loss", "embedding_std", "learning_rate"} < set(numbers) and line.keys() == expected.keys()
            for name in numbers:
                assert line[name] == pytest.approx(expected[name], rel=1e-5), (i, name)
        expected, weights = (load_file(run / "encoder.safetensors") for run in (one, two))
        assert any("running_var" in name for name in weights)
        for name, value in weights.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")
        names = {path.name for path in one.iterdir()}
        assert {path.name for path in two.iterdir()} == names


@pytest.mark.slow
def test_torchrun_trains_and_one_process_speaks(tmp_path, store):
    settings = ["--batch-size", "6", "--anchors-per-clip", "3", "--n-following", "4", "--image-size", "32"]
    settings += ["--epochs", "1", "--crop-ratio", "0.8", "--embedding-dim", "8"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tclr.cli.main", "pretrain", store, tmp_path / "run", *settings]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Epoch 1: training loss") == 1 and result.stdout.count("Encoder: ") == 1
    assert len(history(tmp_path / "run")) == 1 and len(list((tmp_path / "run/tensorboard").iterdir())) == 1


FAILING = """
import os
from tclr.cli.main import main
from tclr.pipeline.pretraining import Trainer
from tclr.schemas.errors import InputError

step = Trainer._backward
def fail(self, *args):
    if self.processes.rank == 1 and self.step == 1:
        raise InputError("Expected a clip, but rank 1 got none.")
    step(self, *args)
Trainer._backward = fail
main()
"""


def test_error_in_one_process_ends_all(tmp_path, store):
    (tmp_path / "fail.py").write_text(FAILING)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [
        tmp_path / "fail.py",
        "pretrain",
        store,
        tmp_path / "run",
        "--batch-size",
        "2",
        "--anchors-per-clip",
        "3",
    ]
    command += ["--n-following", "4", "--image-size", "32", "--crop-ratio", "0.8", "--embedding-dim", "8"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode != 0 and "tclr: Expected a clip, but rank 1 got none." in result.stderr
    assert not (tmp_path / "run/encoder.safetensors").exists()


@pytest.mark.parametrize(("count", "change"), [(1, {"accumulate": 3}), (2, {"batch_size": 5}), (4, {"accumulate": 2})])
def test_processes_and_micro_batches_must_divide_a_step(count, change):
    config = CONFIG.model_copy(update=change)
    with pytest.raises(
        SettingError, match=rf"batch_size divisible by processes x micro-batches \({count} x {config.accumulate}\)"
    ):
        plan_steps(9, config, count)


def test_every_tuple_is_done_once_whoever_does_it():
    for count in (1, 2, 3):
        config = CONFIG.model_copy(update={"batch_size": 12, "accumulate": 2})
        plan = plan_steps(31, config, count)
        assert [[len(micro) for micro in step] for step in plan] == [[6, 6], [6, 6], [6, 1]]
        shares = [[Processes(torch.device("cpu"), rank, count).share(micro) for rank in range(count)]
                  for step in plan for micro in step]  # fmt: skip
        assert [i for parts in shares for part in parts for i in part] == list(range(31))
        assert all(max(map(len, parts)) - min(map(len, parts)) <= 1 for parts in shares)
