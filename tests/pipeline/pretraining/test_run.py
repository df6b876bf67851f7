import json
import shutil

import h5py
import numpy as np
import pytest
import torch

from tclr.pipeline.au import BOX
from tclr.pipeline.encoder import EncoderInfo, augment, build_encoder, load_encoder, save_encoder
from tclr.pipeline.faces import find_model
from tclr.pipeline.pretraining import Trainer, facemesh_weights, pretrain, start_encoder
from tclr.pipeline.pretraining.judging.validation import held_out_metrics, validate
from tclr.pipeline.pretraining.losses import aggregate_ranking_loss
from tclr.pipeline.tuples import load_batches
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import ModelError, SettingError, StoreError, TclrError

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = PretrainConfig(
    recipe="paper",
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
    expected = ["checkpoint.pt", "config.json", "distance.json", "distance.png", "encoder.safetensors", "log.jsonl"]
    assert names == [*expected, "quality.json", "tensorboard"]
    lines = [json.loads(line) for line in (run.run / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3] and len(lines[0]["val_accuracy_by_pair"]) == 4
    assert len(run.val_subjects) == 1 and set(run.val_subjects).isdisjoint(run.train_subjects)
    assert load_encoder(run.run).info.epochs == 3
    assert json.loads((run.run / "config.json").read_text())["learning_rate"] == CONFIG.learning_rate
    content = torch.load(run.run / "checkpoint.pt", weights_only=True)
    assert content["epoch"] == 3 and json.loads(content["config"]) == CONFIG.model_dump(mode="json")


def test_checkpoint_is_an_encoder_with_the_sizes_it_was_trained_at(run):
    from_checkpoint, from_run = load_encoder(run.run / "checkpoint.pt"), load_encoder(run.run)
    assert from_checkpoint.info == from_run.info and from_checkpoint.info.image_size == 32
    assert from_checkpoint.digest == from_run.digest


@pytest.mark.parametrize("stop_after", [4, 8])
def test_interrupted_and_resumed_run_ends_with_the_same_weights(tmp_path, store, run, stop_after):
    def stop(done, total):
        if done >= stop_after:
            raise Stop

    with pytest.raises(Stop):
        pretrain(store, tmp_path, CONFIG, progress=stop)
    result = pretrain(store, tmp_path, CONFIG)
    assert (result.resumed_at, result.resumed_step) == (stop_after // 6, 0)
    resumed, whole = weights(tmp_path), weights(run.run)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    strip = [{k: v for k, v in line.items() if k != "tuples_per_s"} for line in result.history]
    assert strip == [{k: v for k, v in line.items() if k != "tuples_per_s"} for line in run.history]


def test_run_stopped_between_epochs_resumes_exactly_with_adamw_and_draws_per_frame(tmp_path, store):
    config = CONFIG.model_copy(update={"optimizer": "adamw", "augment": "frame", "epochs": 2})
    whole = pretrain(store, tmp_path / "whole", config)
    pretrain(store, tmp_path / "parts", config.model_copy(update={"epochs": 1}))
    assert pretrain(store, tmp_path / "parts", config).resumed_at == 1
    expected = weights(whole.run)
    assert all(torch.equal(value, expected[name]) for name, value in weights(tmp_path / "parts").items())


def test_log_has_each_epoch_once_when_checkpoints_are_rarer(tmp_path, store, run):
    config = CONFIG.model_copy(update={"checkpoint_every": 2})

    def stop(done, total):
        if done > 12:
            raise Stop

    with pytest.raises(Stop):
        pretrain(store, tmp_path, config.model_copy(update={"epochs": 5}), progress=stop)
    (tmp_path / "log.jsonl").write_text((tmp_path / "log.jsonl").read_text() + json.dumps({"epoch": 3}) + "\n")
    assert pretrain(store, tmp_path, config).resumed_at == 2
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[2]["train_loss"] == run.history[2]["train_loss"]


def test_more_epochs_go_on_from_a_finished_run(tmp_path, store):
    pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 1}))

    def stop(done, total):
        if done > 6:
            raise Stop

    with pytest.raises(Stop):
        pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 2}), progress=stop)
    assert not (tmp_path / "encoder.safetensors").exists()  # there is one of finished runs only
    result = pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 2}))
    assert result.resumed_at == 1 and len(result.history) == 2
    again = pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 2}))
    assert again.resumed_at == 2 and again.history == result.history
    with pytest.raises(SettingError, match="it has 2 epochs, but 'epochs' is 1"):
        pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 1}))
    assert load_encoder(tmp_path).info.epochs == 2


def test_resume_refuses_other_data_and_other_initial_weights(tmp_path, store, run, make_store):
    longer = make_store(tmp_path / "longer", n_frames=30)
    shutil.copytree(run.run, tmp_path / "run")
    with pytest.raises(SettingError, match="trained on other data .*differ from .*longer"):
        pretrain(longer, tmp_path / "run", CONFIG)
    save_encoder(tmp_path / "start.safetensors", build_encoder(8, 9), EncoderInfo(embedding_dim=8))
    with pytest.raises(SettingError, match="started from other weights. Give the same --init"):
        pretrain(store, tmp_path / "run", CONFIG, init=tmp_path / "start.safetensors")


def test_training_starts_from_the_initial_weights(tmp_path, store, run):
    config = CONFIG.model_copy(update={"epochs": 1, "learning_rate": 1e-30})
    started = pretrain(store, tmp_path, config, init=run.run)
    expected = load_encoder(run.run).model
    torch.testing.assert_close(load_encoder(started.run).model.fc1.weight, expected.fc1.weight, rtol=0, atol=0)


def test_run_of_another_architecture_trains_loads_and_says_what_it_is(tmp_path, store):
    config = CONFIG.model_copy(update={"epochs": 1, "arch": "mobilenet_v2"})
    untrained = build_encoder(8, CONFIG.seed, "mobilenet_v2").state_dict()
    encoder = load_encoder(pretrain(store, tmp_path, config).run)
    trained = encoder.model.state_dict()
    moved = "mobilenet_v2.features.0.0.weight"
    assert trained.keys() == untrained.keys() and not torch.equal(trained[moved], untrained[moved])
    info, data_hash = encoder.info, torch.load(tmp_path / "checkpoint.pt", weights_only=True)["data_hash"]
    assert (info.arch, info.data_hash, info.crop_size, info.n_subjects) == ("mobilenet_v2", data_hash, 32, 2)

    assert encoder.embed(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 8)
    with pytest.raises(ModelError, match="of resnet18, but .* seems to hold mobilenet_v2"):
        pretrain(store, tmp_path / "other", CONFIG, init=tmp_path)


def test_run_starts_from_mediapipes_landmark_network_and_reads_pixels_as_it_does(tmp_path, store):
    config = CONFIG.model_copy(update={"epochs": 1, "arch": "facemesh", "image_size": 64, "learning_rate": 1e-30})
    encoder = load_encoder(pretrain(store, tmp_path / "run", config, init="facemesh").run)
    assert (encoder.info.mean, encoder.info.std) == ((0, 0, 0), (1, 1, 1))
    for name, weight in facemesh_weights(find_model()).items():
        if ".norm." not in name:  # these statistics follow the features
            np.testing.assert_allclose(encoder.weights()[name], weight, rtol=0, atol=1e-9)
    fc1 = build_encoder(8, CONFIG.seed, "facemesh").fc1.weight
    torch.testing.assert_close(encoder.model.fc1.weight, fc1, rtol=0, atol=1e-6)
    again = config.model_copy(update={"epochs": 2, "schedule": "constant"})
    from_file = load_encoder(pretrain(store, tmp_path / "again", again, init=tmp_path / "run").run)
    assert from_file.info.mean == (0, 0, 0)
    with pytest.raises(ModelError, match="of resnet18, but mediapipe's landmark network seems to hold facemesh"):
        pretrain(store, tmp_path / "other", CONFIG, init="facemesh")


def test_encoder_names_who_it_learnt_from_here_and_where_it_started(tmp_path, store, run):
    info = load_encoder(run.run).info
    assert info.subjects == tuple(f"bp4d/{name}" for name in run.train_subjects) and not info.supervised
    before = EncoderInfo(embedding_dim=8, subjects=("disfa/SN001",), supervised=True)
    save_encoder(tmp_path / "start.safetensors", build_encoder(8, 9), before)
    config = CONFIG.model_copy(update={"epochs": 1})
    after = load_encoder(pretrain(store, tmp_path / "run", config, init=tmp_path / "start.safetensors").run).info
    assert after.subjects == (*info.subjects, "disfa/SN001") and after.supervised


def test_store_with_crops_of_several_sizes_is_refused(tmp_path, make_store):
    store = make_store(tmp_path / "store", n_subjects=2, n_frames=24)
    other = make_store(tmp_path / "other", n_frames=24, size=40)
    shutil.copy(other / "subjects/F003.h5", store / "subjects")
    with pytest.raises(StoreError, match=r"one crop size .* got \[32, 40\]"):
        pretrain(store, tmp_path / "run", CONFIG)


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
    with pytest.raises(ModelError, match="Cannot use .*checkpoint.pt"):
        pretrain(store, tmp_path, CONFIG)
    assert pretrain(store, tmp_path, CONFIG.model_copy(update={"epochs": 1}), resume=False).resumed_at == 0


def paint_time_under_flicker(path, seed):
    """Let red and blue drift apart with time, under brightness that flickers: an untrained network sees the flicker."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "r+") as file:
        frames = file["clips/T1/frames"]
        n_frames, size = frames.shape[:2]
        drift = 80 * np.linspace(-1, 1, n_frames)[:, None, None, None] * np.array([1, 0, -1])
        flicker = rng.uniform(90, 160, (n_frames, 1, 1, 1))
        pixels = drift + flicker + rng.normal(0, 4, (n_frames, size, size, 3))
        frames[...] = pixels.clip(1, 255).astype(np.uint8)


def test_training_learns_to_rank_frames_of_subjects_it_has_not_seen(tmp_path, make_store):
    store = make_store(tmp_path / "store", n_subjects=4)
    for seed, path in enumerate(sorted((store / "subjects").glob("*.h5"))):
        paint_time_under_flicker(path, seed)
    changes = {"anchors_per_clip": 16, "spacing": 4, "augment": "none", "val_share": 0.5, "margin": 0.1, "seed": 2}
    config = CONFIG.model_copy(update={**changes, "optimizer": "adamw", "learning_rate": 0.001})
    trainer = Trainer(store, config, None)
    seen = validate(trainer, trainer.model.encoder)
    accuracy = held_out_metrics(seen.embeddings, seen.seconds)["val_accuracy"]
    trained = pretrain(store, tmp_path / "run", config)
    # seeds 0 to 3: 0.67 to 0.73 untrained, 0.94 to 1.0 trained
    assert accuracy < 0.75
    assert trained.history[-1]["val_accuracy"] > accuracy + 0.15
    assert trained.history[-1]["val_loss"] < 0.5 * seen.losses["loss"]


@pytest.mark.parametrize(
    ("batch_size", "what"),
    [(4, "the loss of epoch 1, up to step 2, became nan"), (48, "all weights in epoch 1, up to step 1, became")],
)
def test_exploding_run_is_one_clear_error_and_writes_no_encoder(tmp_path, store, batch_size, what):
    with pytest.raises(TclrError, match=f"{what}.*Lower --learning-rate"):
        pretrain(store, tmp_path, CONFIG.model_copy(update={"learning_rate": 1e38, "batch_size": batch_size}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "tensorboard"]


def test_a_partial_last_step_counts_by_its_size_and_micro_batches_add_up(tmp_path, store):
    still = {"epochs": 1, "learning_rate": 1e-30, "anchors_per_clip": 3, "augment": "none"}
    config = CONFIG.model_copy(update=still)
    trainer = Trainer(store, config, None)
    trainer.model.train()
    trainer.data.train_tuples.epoch = 0
    sizes, losses = [], []
    for batch in load_batches(trainer.data.train_tuples, [range(4), range(4, 6)], num_workers=0, device=trainer.device):
        embeddings = trainer.model.embed(trainer.model.encoder, augment(batch.frames, batch.draws, config), len(batch))
        sizes.append(len(batch))
        losses.append(aggregate_ranking_loss(embeddings, CONFIG.margin).item())
    expected = (4 * losses[0] + 2 * losses[1]) / 6
    assert sizes == [4, 2] and losses[0] != losses[1]
    assert pretrain(store, tmp_path, config).history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)
    # one step of two micro-batches has the gradient of their mean loss, batch statistics being each one's own
    whole = Trainer(store, config.model_copy(update={"batch_size": 8, "accumulate": 2}), None)
    assert [n for n in whole.steps()] == [6]
    trainer.model.train()
    trainer.model.zero_grad()
    for batch in load_batches(trainer.data.train_tuples, [range(4), range(4, 6)], num_workers=0, device=trainer.device):
        losses = trainer.model(augment(batch.frames, batch.draws, config), batch)
        (losses["loss"] * len(batch) / 6).backward()
    torch.testing.assert_close(whole.model.encoder.fc1.weight.grad, trainer.model.encoder.fc1.weight.grad)


def hide_action_under_flicker(path, seed):
    """AU12 moves the mouth's landmarks and shows as a stripe, under noise and light that changes every frame."""
    rng = np.random.default_rng(seed)
    face = np.random.default_rng(0).normal(0, 60, (68, 3))
    face[36], face[45] = (-45, -30, 0), (45, -30, 0)
    with h5py.File(path, "r+") as file:
        clip = file["clips/T1"]
        au = clip["au"][:, 1] == 1
        n_frames, size = clip["frames"].shape[:2]
        pixels = rng.uniform(70, 150, (n_frames, 1, 1, 1)) + rng.normal(0, 12, (n_frames, size, size, 3))
        pixels[au, 18:26, 8:24] += 50
        clip["frames"][...] = pixels.clip(1, 255).astype(np.uint8)
        landmarks = face[None] + rng.normal(0, 0.3, (n_frames, 68, 3))
        landmarks[au, 48:68, 1] += 6
        clip["landmarks"][...] = landmarks
        clip["blendshapes"][...] = 0.5


@pytest.mark.slow
def test_default_recipe_learns_to_see_movement_in_subjects_it_has_not_seen(tmp_path, make_store):
    store = make_store(tmp_path / "store", n_subjects=6, n_frames=60)
    for seed, path in enumerate(sorted((store / "subjects").glob("*.h5"))):
        hide_action_under_flicker(path, seed)
    sizes = {"image_size": 32, "crop_ratio": 0.8, "embedding_dim": 8, "batch_size": 6, "val_share": 0.4}
    config = PretrainConfig(**sizes, epochs=16, anchors_per_clip=6, geometry_components=1)
    history = pretrain(store, tmp_path / "run", config).history
    assert history[-1]["val_geometry"] < 0.5 * history[0]["val_geometry"]


def test_the_bundled_encoder_is_a_start_by_name():
    encoder, info = start_encoder(PretrainConfig(arch="facemesh"), "box")
    bundled = load_encoder(BOX)
    assert all(
        torch.equal(value, bundled.model.state_dict()[name].cpu()) for name, value in encoder.state_dict().items()
    )
    assert info.supervised and info.mean == bundled.info.mean
    with pytest.raises(ModelError, match="seems to hold facemesh.*--arch facemesh"):
        start_encoder(PretrainConfig(), "box")
    with pytest.raises(ModelError, match="Known names: box, face, facemesh, random"):
        start_encoder(PretrainConfig(), "facemsh")
