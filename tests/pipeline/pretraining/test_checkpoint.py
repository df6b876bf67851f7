"""Runs that 0.1.0 left resume, unless they used a setting that there is no more."""

import json

import pytest
import torch

from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.pretraining import pretrain
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import SettingError

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS_0_1_0 = """
{"accumulate":1,"anchors_per_clip":3,"arch":"resnet18","augment":"frame","batch_size":4,"blur":0.2,"checkpoint_every":1,
"checkpoint_every_s":0.0,"colour_jitter":0.3,"compile":false,"contrast_min_s":0.4,"contrast_temperature":0.1,
"contrast_weight":0.0,"crop_ratio":0.8,"cross_subject_weight":0.0,"direction":"both","ema":0.0,"embedding_dim":8,
"epochs":2,"flip":0.5,"geometry_components":8,"geometry_weight":5.0,"grad_clip":1.0,"image_size":32,
"layout":"following","learning_rate":0.002,"leave_out":"","light_jitter":0.3,"margin":0.03,"margin_per_s":0.0,
"match":"none","match_window":0.5,"momentum":0.9,"n_following":4,"num_workers":0,"optimizer":"adamw",
"precision":"auto","ranking_weight":0.3,"recipe":"tclr","rotation_deg":5.0,"schedule":"cosine","seed":0,"shift":0.03,
"spacing":1,"spacing_max_s":0.24,"spacing_min_s":0.04,"supervision_weight":0.0,"tilt":0.06,"val_share":0.3,
"warmup_epochs":0.3,"weight_decay":0.05,"zoom":0.06}
"""
"""As a checkpoint of 0.1.0 has them, of the default recipe at a tiny size."""
GONE = {"layout", "match", "match_window", "margin_per_s", "contrast_weight", "contrast_temperature", "contrast_min_s",
        "cross_subject_weight", "ema"}  # fmt: skip
CONFIG = PretrainConfig(**{name: value for name, value in json.loads(SETTINGS_0_1_0).items() if name not in GONE})


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    return make_store(tmp_path_factory.mktemp("checkpoint") / "store", n_frames=24)


def leave_old_run(store, run, **changes):
    """Leave a run that was stopped within its second epoch, with a checkpoint as 0.1.0 wrote it."""

    def stop(done, total):
        if done > 10:
            raise Stop

    with pytest.raises(Stop):
        pretrain(store, run, CONFIG, progress=stop)
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    content["config"] = json.dumps(json.loads(SETTINGS_0_1_0) | changes)
    content["training"] = content["model"]  # what was trained, beside what was released
    torch.save(content, run / "checkpoint.pt")


def test_old_run_of_default_settings_resumes_and_ends_as_one_that_was_not_stopped(tmp_path, store):
    whole = pretrain(store, tmp_path / "whole", CONFIG)
    leave_old_run(store, tmp_path / "old", match_window=0.25)  # a setting that did nothing on its own
    assert load_encoder(tmp_path / "old/checkpoint.pt").info.epochs == 1
    resumed = pretrain(store, tmp_path / "old", CONFIG)
    assert (resumed.resumed_at, resumed.resumed_step) == (1, 1)
    assert load_encoder(resumed.run).digest == load_encoder(whole.run).digest
    assert [line["train_loss"] for line in resumed.history] == [line["train_loss"] for line in whole.history]


@pytest.mark.parametrize(
    ("name", "value"),
    [("layout", "pairs"), ("match", "pose"), ("margin_per_s", 0.1), ("contrast_weight", 0.3),
     ("cross_subject_weight", 0.3), ("ema", 0.99)],
)  # fmt: skip
def test_old_run_that_used_a_setting_that_is_gone_is_refused(tmp_path, store, name, value):
    leave_old_run(store, tmp_path, **{name: value})
    with pytest.raises(SettingError, match=f"setting '{name}' was '?{value}'?, and this version of tclr no longer has"):
        pretrain(store, tmp_path, CONFIG)
    assert pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 1}), resume=False).resumed_at == 0
