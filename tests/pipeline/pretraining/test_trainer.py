import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.pretraining import Trainer, pretrain
from tclr.pipeline.pretraining import model as model_module
from tclr.pipeline.pretraining import run as pretrain_module
from tclr.pipeline.pretraining.judging.validation import validate
from tclr.pipeline.pretraining.losses import aggregate_ranking_loss
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import SettingError

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = PretrainConfig(
    recipe="paper",
    epochs=2, batch_size=2, anchors_per_clip=3, n_following=3, image_size=32, crop_ratio=0.8, embedding_dim=8,
    learning_rate=0.003, val_share=0.3,
)  # fmt: skip


def with_(**changes):
    return CONFIG.model_copy(update=changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    return make_store(tmp_path_factory.mktemp("trainer") / "store", n_frames=24)


class Stop(Exception):
    pass


def stop_at(n_tuples):
    def progress(done, total):
        if done == n_tuples:
            raise Stop

    return progress


class WithHead(nn.Module):
    """An objective with parameters of its own, two parts, and dropout."""

    def __init__(self, config, n_targets):
        super().__init__()
        self.head = nn.Linear(config.embedding_dim, 1)
        self.dropout = nn.Dropout(0.5)

    def fit_targets(self, sample):
        pass

    def forward(self, embeddings, batch):
        ranking = aggregate_ranking_loss(embeddings, 0.03)
        time = (self.head(self.dropout(embeddings))[..., 0] - batch.seconds).square().mean()
        return {"loss": ranking + time, "ranking": ranking, "time": time}


def test_resume_within_an_epoch_restores_objective_optimizer_and_random_state(tmp_path, store, monkeypatch):
    monkeypatch.setattr(model_module, "Objective", WithHead)
    config = with_(optimizer="adamw", schedule="cosine", warmup_epochs=0.5, accumulate=2, grad_clip=1)
    whole = pretrain(store, tmp_path / "whole", config)
    with pytest.raises(Stop):  # the second step's checkpoint of the second epoch is the last
        pretrain(store, tmp_path / "parts", config.model_copy(update={"checkpoint_every_s": 0}), progress=stop_at(10))
    torch.rand(7)  # what else draws random numbers matters not
    parts = pretrain(store, tmp_path / "parts", config)
    assert (parts.resumed_at, parts.resumed_step) == (1, 2)
    assert load_encoder(parts.run).digest == load_encoder(whole.run).digest
    one, two = (torch.load(run.run / "checkpoint.pt", weights_only=True) for run in (whole, parts))
    for name in ("model", "objective"):
        assert one[name] and all(torch.equal(value, two[name][key]) for key, value in one[name].items())
    for a, b in zip(whole.history, parts.history, strict=True):
        assert {**a, "tuples_per_s": 0} == {**b, "tuples_per_s": 0}


def test_objective_is_trained_logged_by_part_and_not_released(tmp_path, store, monkeypatch):
    monkeypatch.setattr(model_module, "Objective", WithHead)
    result = pretrain(store, tmp_path, with_(epochs=1))
    line = result.history[0]
    assert line["train_loss"] == pytest.approx(line["train_ranking"] + line["train_time"])
    assert line["val_loss"] == pytest.approx(line["val_ranking"] + line["val_time"])
    trained = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["objective"]["head.weight"]
    assert not torch.equal(trained, Trainer(store, CONFIG, None).model.objective.head.weight)
    assert not any("head" in name for name in load_encoder(tmp_path).model.state_dict())


def test_the_encoder_that_is_validated_is_released(tmp_path, store):
    result = pretrain(store, tmp_path, CONFIG)
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    released = load_encoder(tmp_path).model.state_dict()
    assert all(torch.equal(value, released[name]) for name, value in content["model"].items())
    trainer = Trainer(store, CONFIG, tmp_path)
    seen = validate(trainer, trainer.model.encoder)
    assert seen.losses["loss"] == pytest.approx(result.history[-1]["val_loss"], rel=1e-5)


def test_clipping_bounds_a_step(store):
    moved = []
    for grad_clip in (0, 1e-3):
        trainer = Trainer(store, with_(learning_rate=1.0, grad_clip=grad_clip), None)
        before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
        next(trainer.steps())
        pairs = zip(trainer.model.parameters(), before, strict=True)
        moved.append(torch.cat([(new.detach() - old).flatten() for new, old in pairs]).norm().item())
    assert moved[1] == pytest.approx(1e-3, rel=1e-2) and moved[0] > 0.1


def test_bf16_is_close_to_fp32_which_a_cpu_takes_by_itself(store):
    embeddings = {}
    for precision in ("auto", "fp32", "bf16"):
        trainer = Trainer(store, with_(precision=precision), None)
        next(trainer.steps())
        assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
        untrained = Trainer(store, with_(precision=precision), None)
        embeddings[precision] = validate(untrained, untrained.model.encoder).embeddings
    assert torch.equal(embeddings["auto"], embeddings["fp32"])
    assert not torch.equal(embeddings["bf16"], embeddings["fp32"])
    torch.testing.assert_close(embeddings["bf16"], embeddings["fp32"], rtol=0, atol=0.02)


def test_compile_compiles_the_encoder_and_keeps_its_names(tmp_path, store, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    pretrain(store, tmp_path, with_(compile=True))
    assert compiled == ["TemporalEncoder"] and load_encoder(tmp_path).info.epochs == 2


def test_cosine_runs_cannot_be_lengthened_but_settings_that_change_nothing_are_free(tmp_path, store):
    config = with_(schedule="cosine", epochs=1)
    pretrain(store, tmp_path, config)
    with pytest.raises(SettingError, match="'epochs' was 1 and is now 2, and the cosine schedule depends on it"):
        pretrain(store, tmp_path, config.model_copy(update={"epochs": 2}))
    free = {"checkpoint_every": 3, "checkpoint_every_s": 1.0, "num_workers": 1}
    assert pretrain(store, tmp_path, config.model_copy(update=free)).resumed_at == 1


def test_starting_over_leaves_nothing_of_the_run_before(tmp_path, store):
    pretrain(store, tmp_path, with_(epochs=1))
    with pytest.raises(Stop):
        pretrain(store, tmp_path, with_(epochs=1), resume=False, progress=stop_at(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "tensorboard"]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def points(run, tag):
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [(point.step, pytest.approx(point.value)) for point in events.Scalars(tag)]


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path, store, monkeypatch):
    monkeypatch.setattr(pretrain_module, "LOG_EVERY_STEPS", 1)
    whole = pretrain(store, tmp_path / "whole", with_())
    with pytest.raises(Stop):  # a point of step 5 is written, the checkpoint is of step 3
        pretrain(store, tmp_path / "parts", with_(), progress=stop_at(10))
    parts = pretrain(store, tmp_path / "parts", with_())
    assert parts.resumed_at == 1 and len(list((parts.run / "tensorboard").iterdir())) == 2
    losses = points(parts.run, "train/loss")
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6] and losses == points(whole.run, "train/loss")
    assert points(parts.run, "epoch/val_accuracy") == [(line["step"], line["val_accuracy"]) for line in parts.history]
    mean = sum(value.expected for _, value in losses[:3]) / 3
    assert mean == pytest.approx(parts.history[0]["train_loss"], rel=1e-5)


@pytest.mark.parametrize("val_share", [0.3, 0])
def test_collapse_is_told_once_and_while_the_run_goes_on(tmp_path, store, monkeypatch, val_share):
    events = []
    monkeypatch.setattr(pretrain_module, "COLLAPSE_STD", 2.0)
    result = pretrain(
        store, tmp_path, with_(val_share=val_share), progress=lambda done, total: events.append(done),
        warn=events.append,
    )  # fmt: skip
    n_tuples = 3 * len(result.train_subjects)
    warnings = [event for event in events if isinstance(event, str)]
    assert len(warnings) == 1 and "nearly collapsed to one point after epoch 1: their spread is" in warnings[0]
    assert events.index(warnings[0]) == events.index(n_tuples) + 1


def test_healthy_run_is_not_warned_and_the_log_has_what_is_documented(tmp_path, store, caplog):
    pretrain(store, tmp_path, with_(learning_rate=1e-6))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert not caplog.records and [line["step"] for line in lines] == [3, 6]
    assert lines[0].keys() == {
        "epoch", "step", "learning_rate", "train_loss", "train_ranking", "val_loss", "val_ranking", "val_accuracy",
        "val_accuracy_by_pair", "val_accuracy_by_seconds", "embedding_std", "effective_rank", "tuples_per_s",
    }  # fmt: skip


def test_distances_are_those_of_held_out_subjects_before_and_after(tmp_path, store):
    result = pretrain(store, tmp_path / "run", with_(learning_rate=1e-30))
    curves = json.loads((result.run / "distance.json").read_text())
    assert list(curves["trained"]["seconds"]) == pytest.approx([0.04, 0.08, 0.12, 0.16])
    assert set(curves) == {"trained", "before training"} and curves["trained"]["n"] == [8] * 4
    still, moved = curves["before training"]["mean"], pretrain(store, tmp_path / "other", with_(learning_rate=0.01))
    assert json.loads((moved.run / "distance.json").read_text())["before training"]["mean"] == still
    assert json.loads((moved.run / "distance.json").read_text())["trained"]["mean"] != still
    none = pretrain(store, tmp_path / "none", with_(val_share=0, epochs=1))
    assert not (none.run / "distance.json").exists() and none.history[0]["val_accuracy"] is None
    assert none.history[0]["embedding_std"] > 0


def test_subjects_left_out_are_not_trained_on(store):
    everyone = Trainer(store, CONFIG, None)
    first = everyone.data.train_subjects[0]
    trainer = Trainer(store, with_(leave_out=first), None)
    seen = {*trainer.data.train_subjects, *trainer.data.val_subjects}
    assert seen == {*everyone.data.train_subjects, *everyone.data.val_subjects} - {first}
    assert not any(name.endswith(first) for name in trainer.info.subjects)
