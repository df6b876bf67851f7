import json

import pytest
import torch

from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.pretrain import augment, pretrain
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import ModelError, SettingError, TclrError

CONFIG = PretrainConfig(
    epochs=3, batch_size=4, anchors_per_clip=3, n_following=4, image_size=32, crop_ratio=0.8, embedding_dim=8,
    learning_rate=0.01, val_share=0.3,
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    return make_store(tmp_path_factory.mktemp("pretrain") / "store", n_frames=24)


@pytest.fixture(scope="module")
def run(tmp_path_factory, store):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return pretrain(store, folder, CONFIG)


class Stop(Exception):
    pass


def weights(run):
    return load_encoder(run).model.state_dict()


def test_run_folder_holds_what_is_documented(run):
    names = sorted(path.name for path in run.run.iterdir())
    assert names == ["checkpoint.pt", "config.json", "encoder.safetensors", "log.jsonl"]
    lines = [json.loads(line) for line in (run.run / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3] and len(lines[0]["val_accuracy_by_pair"]) == 4
    assert len(run.val_subjects) == 1 and set(run.val_subjects).isdisjoint(run.train_subjects)
    assert load_encoder(run.run).info.epochs == 3


@pytest.mark.parametrize("stop_after", [4, 8])
def test_interrupted_and_resumed_run_ends_with_the_same_weights(tmp_path, store, run, stop_after):
    def stop(done, total):
        if done >= stop_after:
            raise Stop

    with pytest.raises(Stop):
        pretrain(store, tmp_path, CONFIG, progress=stop)
    result = pretrain(store, tmp_path, CONFIG)
    assert result.resumed_at == stop_after // 6
    resumed, whole = weights(tmp_path), weights(run.run)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    strip = [{k: v for k, v in line.items() if k != "tuples_per_s"} for line in result.history]
    assert strip == [{k: v for k, v in line.items() if k != "tuples_per_s"} for line in run.history]


def test_more_epochs_go_on_from_a_finished_run(tmp_path, store):
    pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 1}))
    result = pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 2}))
    assert result.resumed_at == 1 and len(result.history) == 2
    again = pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 2}))
    assert again.resumed_at == 2 and again.history == result.history


def test_resume_refuses_other_settings_and_another_size(tmp_path, store):
    pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 1}))
    with pytest.raises(SettingError, match="setting 'learning_rate' was 0.01 and is now 0.5"):
        pretrain(store, tmp_path, CONFIG.model_copy(update={"learning_rate": 0.5}))
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    content["model"]["fc1.weight"] = torch.zeros(9, 512)
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match="size mismatch for fc1.weight.*--no-resume"):
        pretrain(store, tmp_path, CONFIG)
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="cannot use .*checkpoint.pt"):
        pretrain(store, tmp_path, CONFIG)
    assert pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 1}), resume=False).resumed_at == 0


def test_training_learns_to_rank_frames_of_a_subject_it_has_not_seen(tmp_path, store):
    config = CONFIG.model_copy(
        update={"epochs": 12, "anchors_per_clip": 12, "learning_rate": 0.03, "spacing": 2, "augment": "none"}
    )
    untrained = pretrain(store, tmp_path / "a", config.model_copy(update={"epochs": 1, "learning_rate": 1e-9}))
    trained = pretrain(store, tmp_path / "b", config)
    assert trained.history[-1]["train_loss"] < 0.6 * untrained.history[-1]["train_loss"]
    assert trained.history[-1]["val_accuracy"] > 0.8


def test_nonfinite_loss_is_one_clear_error(tmp_path, store):
    with pytest.raises(TclrError, match="loss became nan.*Lower --learning-rate"):
        pretrain(store, tmp_path, CONFIG.model_copy(update={"learning_rate": 1e30}))


def picture(n_frames):
    return torch.rand(n_frames, 3, 20, 20, generator=torch.Generator().manual_seed(0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_augment_per_tuple_treats_its_frames_alike_and_tuples_apart():
    x = picture(1).repeat(6, 1, 1, 1)
    out = augment(x, 12, 3, 0.2, generator())
    assert out.shape == (6, 3, 12, 12) and 0 <= out.min() and out.max() <= 1
    assert torch.equal(out[0], out[1]) and torch.equal(out[3], out[5]) and not torch.equal(out[0], out[3])
    each = augment(x, 12, 1, 0.2, generator())
    assert not torch.equal(each[0], each[1])


def test_augment_crops_a_part_of_the_picture_perhaps_mirrored():
    x = picture(1)
    for seed in range(8):
        out = augment(x, 12, 1, 0.0, generator(seed))[0]
        parts = [x[0, :, t : t + 12, left : left + 12] for t in range(9) for left in range(9)]
        parts += [part.flip(2) for part in parts]
        assert any(torch.allclose(out, part, atol=1e-6) for part in parts)


def test_augment_follows_its_generator():
    x = picture(4)
    assert torch.equal(augment(x, 12, 2, 0.3, generator(5)), augment(x, 12, 2, 0.3, generator(5)))
