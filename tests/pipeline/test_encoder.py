import pickle

import numpy as np
import pytest
import torch

from tclr.pipeline.encoder import (
    EncoderInfo,
    build_encoder,
    centre_crop,
    load_encoder,
    load_weights,
    resized_side,
    save_encoder,
    to_input,
)
from tclr.schemas.errors import ModelError

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
