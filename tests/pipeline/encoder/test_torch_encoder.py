from dataclasses import replace

import numpy as np
import pytest
import torch

from tclr.pipeline.encoder import (
    EncoderInfo,
    TorchEncoder,
    build_encoder,
    choose_precision,
    encoder_digest,
    load_encoder,
    save_encoder,
)
from tclr.pipeline.encoder.backbones import BACKBONES
from tclr.pipeline.encoder.torch_encoder import cpu_step
from tclr.schemas.errors import InputError, ModelError

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = EncoderInfo(embedding_dim=8, image_size=32, recipe="paper", epochs=3)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 255, (5, 48, 48, 3), np.uint8)


def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(frames):
    encoder = load_encoder("random", image_size=32, embedding_dim=8)
    together = encoder.embed(frames)
    assert together.shape == (5, 8) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([encoder.embed(frame[None]) for frame in frames]), together, atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "precision"), [("resnet50", "fp32"), pytest.param("mobilenet_v2", "bf16", marks=pytest.mark.slow)]
)
def test_embeddings_on_a_cpu_are_the_same_bits_whatever_the_threads_and_the_batch(arch, precision, one_thread):
    frames = np.random.default_rng(2).integers(0, 255, (19, 64, 64, 3), np.uint8)
    encoder = load_encoder(f"random:{arch}", image_size=120, embedding_dim=8, device=torch.device("cpu"))
    encoder = encoder.with_precision(precision)
    seen = []
    encoder.model.register_forward_hook(lambda _, inputs, out: seen.append((len(inputs[0]), torch.get_num_threads())))
    together = encoder.embed(frames)
    torch.set_num_threads(3)
    try:
        apart = [encoder.embed(frames[:3]), encoder.embed(frames[3:])]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(np.concatenate(apart), together)
    assert cpu_step(120) == 27 and set(seen) == {(27, 1)} and len(seen) == 3


@pytest.mark.parametrize("n_threads", [1, 3])
def test_batches_of_any_size_are_joined_to_whole_steps_and_read_as_they_are_needed(n_threads, one_thread):
    encoder = load_encoder("random", image_size=224, embedding_dim=8, device=torch.device("cpu"))
    frames = np.random.default_rng(3).integers(0, 255, (80, 8, 8, 3), np.uint8)
    seen, read = [], []
    encoder.model = lambda x: seen.append(len(x)) or x.flatten(1)[:, :8]

    def batches():
        for start, stop in [(0, 3), (3, 3), (3, 20), (20, 21), *((i, i + 1) for i in range(21, 80))]:
            read.append(stop)
            yield frames[start:stop]

    torch.set_num_threads(n_threads)
    try:
        parts = encoder.embed_all(batches())
        first = next(parts)
        most_read = max(read)
        together = np.concatenate([first, *parts])
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(1)
    assert set(seen) == {8} and len(seen) == 10 and len(first) == 8
    assert most_read <= 20 if n_threads == 1 else most_read <= 8 * (2 * n_threads + 1)
    np.testing.assert_array_equal(together, encoder.embed(frames))


def test_small_pictures_go_through_the_network_in_larger_numbers():
    assert [cpu_step(size) for size in (448, 224, 158, 112, 64, 32)] == [8, 8, 16, 32, 32, 32]


def test_bf16_changes_embeddings_a_little_and_the_choice_says_by_how_much(frames, monkeypatch):
    encoder = load_encoder("random", image_size=32, embedding_dim=8, device=torch.device("cpu"))
    exact, coarse = encoder.embed(frames), encoder.with_precision("bf16").embed(frames)
    assert encoder.precision == "fp32" and encoder.with_precision("fp32") is encoder
    difference = np.abs(exact - coarse).max()
    assert 0 < difference < 0.02 and coarse.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(coarse, axis=1), 1, atol=1e-5)

    for seconds, expected in (((3.0, 2.0), "bf16"), ((3.0, 2.9), "fp32")):
        ticks = iter([0, seconds[0], 0, seconds[1]] * 3)
        monkeypatch.setattr("tclr.pipeline.encoder.loaded.time.perf_counter", lambda ticks=ticks: next(ticks))
        choice = choose_precision(encoder, frames)
        assert choice.precision == expected and choice.speedup == pytest.approx(seconds[0] / seconds[1])
        assert choice.largest_difference == pytest.approx(difference)


def test_embed_normalises_the_centre_as_imagenet_does():
    frames = np.random.default_rng(1).integers(0, 255, (2, 40, 40, 3), np.uint8)  # as large as resized: not resized
    encoder = TorchEncoder(build_encoder(8, 0), EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=0.8))
    centre = frames[:, 4:36, 4:36].astype(np.float64) / 255
    x = (centre - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    with torch.no_grad():
        expected = encoder.model(torch.from_numpy(x.transpose(0, 3, 1, 2)).float().to(encoder.device)).cpu().numpy()
    np.testing.assert_allclose(encoder.embed(frames), expected, atol=1e-5)


def test_digest_follows_what_changes_embeddings_and_nothing_else():
    model = build_encoder(8, 0)
    digest = encoder_digest(model, SMALL)
    assert len(digest) == 64 and encoder_digest(build_encoder(8, 0), SMALL) == digest
    assert encoder_digest(model, replace(SMALL, recipe="other", epochs=9, tclr_version="9")) == digest
    for change in ({"image_size": 40}, {"crop_ratio": 1.0}, {"mean": (0.0, 0.0, 0.0)}, {"std": (1.0, 1.0, 1.0)}):
        assert encoder_digest(model, replace(SMALL, **change)) != digest


def test_digest_of_a_resnet18_is_what_it_was_before_there_were_other_architectures():
    model = build_encoder(4, 0)
    for number, (_, value) in enumerate(sorted(model.state_dict().items())):
        value.fill_(number)
    digest = encoder_digest(model, EncoderInfo(embedding_dim=4, image_size=32))
    assert digest == "3c45fab4f59f99545f373c914ec1466529d840ce778ea102a71400e0225eeb6a"


@pytest.mark.parametrize("arch", BACKBONES)
def test_encoder_of_each_architecture_embeds_its_features(arch):
    model = build_encoder(8, 0, arch).eval()
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.features(x)
        expected = features @ model.fc1.weight.T + model.fc1.bias
        torch.testing.assert_close(model(x), expected / expected.norm(dim=1, keepdim=True))
    assert features.shape == (2, BACKBONES[arch].n_features) == (2, model.n_features)
    assert {name.split(".")[0] for name in model.state_dict()} == {arch, "fc1"}


def test_random_encoder_of_another_architecture_and_of_none(frames):
    encoder = load_encoder("random:mobilenet_v2", image_size=32, embedding_dim=8)
    assert encoder.info.arch == encoder.model.arch == "mobilenet_v2" and encoder.embed(frames).shape == (5, 8)
    with pytest.raises(
        ModelError, match="architectures densenet121, facemesh, mobilenet_v2, resnet18, resnet50, but got 'vgg16'"
    ):
        load_encoder("random:vgg16")


def test_embed_takes_no_frames_and_refuses_other_shapes_and_dtypes(frames):
    encoder = load_encoder("random", image_size=32, embedding_dim=8)
    assert encoder.embed(frames[:0]).shape == (0, 8)
    for wrong in (frames / 255, frames[0], frames[:, :40], frames[..., :1]):
        with pytest.raises(InputError, match=r"shape \(n, S, S, 3\) and dtype uint8, but got"):
            encoder.embed(wrong)


def test_random_encoder_follows_its_seed_and_leaves_other_draws_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, again, other = (load_encoder("random", image_size=32, seed=seed).digest for seed in (0, 0, 1))
    assert first == again != other
    assert torch.rand(1) == expected


def test_saved_encoder_gives_the_same_embeddings_digest_and_info(tmp_path, frames):
    model = build_encoder(8, 3)
    save_encoder(tmp_path / "encoder.safetensors", model, SMALL)
    from_file, from_run = load_encoder(tmp_path / "encoder.safetensors"), load_encoder(tmp_path)
    assert from_file.info == SMALL and from_file.digest == from_run.digest
    np.testing.assert_array_equal(from_file.embed(frames), from_run.embed(frames))
    other = build_encoder(8, 4)
    save_encoder(tmp_path / "other.safetensors", other, SMALL)
    assert load_encoder(tmp_path / "other.safetensors").digest != from_file.digest
