import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tclr.pipeline.encoder import (
    EncoderInfo,
    LoadedEncoder,
    build_encoder,
    centre_crop,
    encoder_digest,
    load_encoder,
    load_weights,
    resized_side,
    save_encoder,
    to_input,
)
from tclr.schemas.errors import InputError, ModelError

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = EncoderInfo(embedding_dim=8, image_size=32, recipe="paper", epochs=3)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 255, (5, 48, 48, 3), np.uint8)


def test_resnet18_has_torchvisions_names_and_count():
    names = build_encoder(256, 0).resnet18.state_dict()
    # torchvision's ResNet-18 has 11,689,512 parameters, 513,000 of them in the classifier
    assert sum(p.numel() for p in build_encoder(256, 0).resnet18.parameters()) == 11_689_512 - 513_000
    assert len(names) == 120  # torchvision's 122 without fc.weight and fc.bias
    expected = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.1.conv2.weight": (64, 64, 3, 3),
        "layer2.0.conv1.weight": (128, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer4.0.downsample.1.bias": (512,),
        "layer4.1.bn2.num_batches_tracked": (),
    }
    assert {name: tuple(names[name].shape) for name in expected} == expected
    assert not any(name.startswith("layer1.0.downsample") for name in names)


def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(frames):
    encoder = load_encoder("random", image_size=32, embedding_dim=8)
    together = encoder.embed(frames)
    assert together.shape == (5, 8) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([encoder.embed(frame[None]) for frame in frames]), together, atol=1e-5)


def test_embed_normalises_the_centre_as_imagenet_does():
    frames = np.random.default_rng(1).integers(0, 255, (2, 40, 40, 3), np.uint8)  # as large as resized: not resized
    encoder = LoadedEncoder(build_encoder(8, 0), EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=0.8))
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


def test_to_input_resizes_like_opencv(frames):
    import cv2

    x = to_input(torch.from_numpy(frames), SMALL)
    side = resized_side(SMALL)
    assert x.shape == (5, 3, side, side) and 0 <= x.min() and x.max() <= 1
    smooth = cv2.GaussianBlur(frames[0], (0, 0), 3)
    ours = to_input(torch.from_numpy(smooth[None]), SMALL)[0].permute(1, 2, 0).numpy() * 255
    theirs = cv2.resize(smooth, (side, side), interpolation=cv2.INTER_LINEAR)
    assert np.abs(ours - theirs).max() < 4


def test_centre_crop_takes_the_middle():
    x = torch.arange(25.0).view(1, 1, 5, 5)
    assert centre_crop(x, 3).flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]


def test_saved_encoder_gives_the_same_embeddings_digest_and_info(tmp_path, frames):
    model = build_encoder(8, 3)
    save_encoder(tmp_path / "encoder.safetensors", model, SMALL)
    from_file, from_run = load_encoder(tmp_path / "encoder.safetensors"), load_encoder(tmp_path)
    assert from_file.info == SMALL and from_file.digest == from_run.digest
    np.testing.assert_array_equal(from_file.embed(frames), from_run.embed(frames))
    other = build_encoder(8, 4)
    save_encoder(tmp_path / "other.safetensors", other, SMALL)
    assert load_encoder(tmp_path / "other.safetensors").digest != from_file.digest


@pytest.mark.parametrize("prefix", ["", "module."])
def test_paper_checkpoint_loads_with_and_without_module(tmp_path, frames, prefix):
    model = build_encoder(256, 5)
    torch.save({prefix + name: value for name, value in model.state_dict().items()}, tmp_path / "paper.pth")
    loaded = load_encoder(tmp_path / "paper.pth", image_size=32)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], value, rtol=0, atol=0)


def test_imagenet_weights_in_torchvisions_names_load_without_the_classifier(tmp_path):
    trained = build_encoder(256, 6)
    weights = {name: value for name, value in trained.resnet18.state_dict().items()}
    weights |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(weights, tmp_path / "resnet18.pth")
    model = build_encoder(16, 7)
    fc1 = model.fc1.weight.clone()
    assert load_weights(model, tmp_path / "resnet18.pth") is None
    torch.testing.assert_close(model.resnet18.layer4[1].conv2.weight, trained.resnet18.layer4[1].conv2.weight)
    torch.testing.assert_close(model.fc1.weight, fc1)
    with pytest.raises(ModelError, match="layer 'fc1', but found none .*tclr pretrain --init"):
        load_encoder(tmp_path / "resnet18.pth")


class Evil:
    def __reduce__(self):
        return (print, ("code in a checkpoint ran",))


def test_bad_files_are_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(ModelError, match="found nothing at"):
        load_encoder(tmp_path / "absent.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="finished run with encoder.safetensors"):
        load_encoder(tmp_path / "empty")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(ModelError, match="cannot read .*text.safetensors"):
        load_encoder(tmp_path / "text.safetensors")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match="weights only"):
        load_encoder(tmp_path / "evil.pth")
    assert "ran" not in capsys.readouterr().out


def test_damaged_checkpoints_are_refused_whatever_the_damage(tmp_path):
    rng = np.random.default_rng(0)
    torch.save(build_encoder(2, 0).state_dict(), tmp_path / "good.pth")
    good = (tmp_path / "good.pth").read_bytes()
    pickled = pickle.dumps({"a": 1, "b": [1, (2, 3)]}, 2)
    damaged = [b"", good[: len(good) // 2], rng.bytes(99)]  # and openings that mean something to an unpickler
    damaged += [bytes([byte]) + rng.bytes(30) for byte in range(0, 256, 8)]
    damaged += [pickled[:end] for end in range(1, len(pickled))]
    for content in damaged:
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(ModelError) as caught:
            load_encoder(tmp_path / "bad.pth")
        assert "bad.pth" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "other"}, "format 'tclr-encoder', but got 'other'"),
        ({"format": "tclr-encoder", "format_version": "2"}, "format 1 or older, but got 2"),
        ({"format": "tclr-encoder", "format_version": "1"}, "cannot read it in"),
        ({"format": "tclr-encoder", "format_version": "1", "info": "{"}, "cannot read it in"),
        ({"format": "tclr-encoder", "format_version": "1", "info": '{"embedding_dim": 8}'}, "cannot read it in"),
    ],
)
def test_encoder_file_with_foreign_or_damaged_metadata_is_refused(tmp_path, metadata, message):
    save_file({"fc1.weight": torch.zeros(8, 512)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ModelError, match=message):
        load_encoder(tmp_path / "a.safetensors")


def test_checkpoint_of_another_size_names_the_tensor_and_both_sizes(tmp_path):
    weights = build_encoder(256, 0).state_dict()
    weights["fc1.weight"] = torch.zeros(128, 512)
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"'fc1.weight' of size \(256, 512\), but got \(128, 512\)"):
        load_encoder(tmp_path / "a.pth")
    del weights["resnet18.conv1.weight"]
    torch.save(weights, tmp_path / "b.pth")
    with pytest.raises(ModelError, match="'resnet18.conv1.weight', but it is missing"):
        load_encoder(tmp_path / "b.pth")
