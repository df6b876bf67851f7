"""A run that is killed at any moment goes on exactly, also within an epoch."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.pretraining import pretrain
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import TclrError

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = PretrainConfig(
    recipe="paper",
    epochs=2, batch_size=2, anchors_per_clip=5, n_following=3, image_size=32, crop_ratio=0.8, embedding_dim=8,
    learning_rate=0.003, val_share=0.3, optimizer="adamw", schedule="cosine", warmup_epochs=0.5,
    grad_clip=1, augment="frame", checkpoint_every_s=0,
)  # fmt: skip


def start(store, run):
    options = []
    for name, value in CONFIG.model_dump().items():
        flag = f"--{name.replace('_', '-')}"
        options += [flag, str(value)] if not isinstance(value, bool) else [flag if value else f"--no-{flag[2:]}"]
    command = [sys.executable, "-m", "tclr.cli.main", "pretrain", store, run, *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def written(path):
    return path.stat().st_mtime_ns if path.exists() else 0


def kill_after(process, checkpoint, n_checkpoints, delay_s):
    """Send SIGKILL some time after the n-th new checkpoint; return the step it was killed at, at the earliest."""
    seen = written(checkpoint)
    while n_checkpoints and process.poll() is None:
        if written(checkpoint) != seen:
            seen, n_checkpoints = written(checkpoint), n_checkpoints - 1
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return torch.load(checkpoint, weights_only=True)["step"]


@pytest.mark.parametrize("kind", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_run_that_is_asked_to_stop_writes_a_checkpoint_first_and_goes_on(tmp_path, make_store, kind):
    store, config = make_store(tmp_path / "store", n_frames=24), CONFIG.model_copy(update={"checkpoint_every_s": 600})
    whole = pretrain(store, tmp_path / "whole", config)
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]

    def stop_within_the_second_epoch(done, total):
        if done >= 14:
            signal.raise_signal(kind)

    with pytest.raises(TclrError, match=rf"Stopped by {kind.name} after 8 steps.*Run the same command again"):
        pretrain(store, tmp_path / "run", config, progress=stop_within_the_second_epoch)
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    result = pretrain(store, tmp_path / "run", config)
    assert (result.resumed_at, result.resumed_step) == (1, 3)
    assert load_encoder(result.run).digest == load_encoder(whole.run).digest


@pytest.mark.slow
def test_run_killed_at_several_moments_ends_as_one_that_was_not(tmp_path, make_store):
    store, run = make_store(tmp_path / "store", n_frames=24), tmp_path / "killed"
    whole = pretrain(store, tmp_path / "whole", CONFIG)
    checkpoint = run / "checkpoint.pt"
    steps = [kill_after(start(store, run), checkpoint, n, delay_s) for n, delay_s in ((2, 0), (4, 0.05))]
    assert any(step % 5 for step in steps), "no kill within an epoch"
    last = start(store, run)
    output = last.communicate()[0].decode()
    assert last.returncode == 0 and "Resumed after epoch" in output, output
    encoders = [load_encoder(folder) for folder in (run, whole.run)]
    assert encoders[0].digest == encoders[1].digest and encoders[0].info == encoders[1].info
    assert (run / "distance.json").read_bytes() == (whole.run / "distance.json").read_bytes()
    lines = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (run, whole.run)
    ]
    for line in sum(lines, []):
        line.pop("tuples_per_s")
    assert lines[0] == lines[1]
    assert not list(run.glob(".*.tmp"))
