import json
import pickle
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tclr.pipeline.encoder import EncoderInfo, build_encoder, load_backbone, load_encoder, load_weights, save_encoder
from tclr.pipeline.encoder.backbones import BACKBONES
from tclr.schemas.errors import ModelError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_paper_checkpoint_loads_with_and_without_module(tmp_path, prefix):
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


def test_backbone_of_imagenet_weights_embeds_by_its_pooled_features(tmp_path):
    trained = build_encoder(256, 6).eval()
    torch.save({**trained.resnet18.state_dict(), "fc.weight": torch.zeros(9, 512)}, tmp_path / "resnet18.pth")
    loaded = load_backbone(tmp_path / "resnet18.pth", EncoderInfo(image_size=32, crop_ratio=1.0))
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    x = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (loaded.info.mean, loaded.info.std))
    with torch.no_grad():
        features = trained.resnet18((x - mean) / std).numpy()
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(loaded.embed(frames), expected, atol=1e-5)
    assert loaded.embedding_dim == 512 and loaded.info.recipe == "resnet18.pth"
    torch.save({"layer": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="fit none of them"):
        load_backbone(tmp_path / "other.pth", EncoderInfo())


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
        ({"format": "tclr-encoder", "format_version": "1"}, "Cannot read the info of"),
        ({"format": "tclr-encoder", "format_version": "1", "info": "{"}, "Cannot read the info of"),
        (
            {"format": "tclr-encoder", "format_version": "1", "info": '{"embedding_dim": 8}'},
            "Cannot read the info of",
        ),
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
    with pytest.raises(ModelError, match="'resnet18.conv1.weight', but .* has none"):
        load_encoder(tmp_path / "b.pth")


def backbone_of(model):
    """Return the backbone's weights as torchvision names them."""
    return {
        name.removeprefix(f"{model.arch}."): value
        for name, value in model.state_dict().items()
        if not name.startswith("fc1.")
    }


def assert_same_backbone(model, other):
    torch.testing.assert_close(backbone_of(model), backbone_of(other), rtol=0, atol=0)


@pytest.mark.parametrize("arch", BACKBONES)
def test_torchvision_files_load_into_their_architecture_and_no_other(tmp_path, arch):
    trained, model = build_encoder(8, 6, arch), build_encoder(8, 7, arch)
    classifier = {f"{name}.{part}": torch.zeros(1000) for name in ("fc", "classifier.1") for part in ("weight", "bias")}
    weights = {name: value for name, value in backbone_of(trained).items() if not name.endswith("num_batches_tracked")}
    torch.save(weights | classifier, tmp_path / "a.pth")
    fc1 = model.fc1.weight.clone()
    assert load_weights(model, tmp_path / "a.pth") is None
    assert_same_backbone(model, trained)
    torch.testing.assert_close(model.fc1.weight, fc1, rtol=0, atol=0)
    other = "resnet50" if arch == "resnet18" else "resnet18"
    with pytest.raises(ModelError, match=f"of {other}, but .*a.pth seems to hold {arch}. .* --arch {arch}") as caught:
        load_weights(build_encoder(8, 0, other), tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


def test_torchvisions_old_names_of_densenet_load(tmp_path):
    trained, model = build_encoder(8, 6, "densenet121"), build_encoder(8, 7, "densenet121")
    old = {re.sub(r"(denselayer\d+\.\w+)(\d)\.", r"\1.\2.", name): v for name, v in backbone_of(trained).items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old and "features.norm5.weight" in old
    torch.save(old, tmp_path / "old.pth")
    load_weights(model, tmp_path / "old.pth")
    assert_same_backbone(model, trained)


@pytest.mark.parametrize("arch", BACKBONES)
def test_saved_encoder_of_each_architecture_loads_with_what_it_says_of_itself(tmp_path, arch):
    told = {"recipe": "paper", "data_hash": "d", "crop_size": 112, "n_subjects": 41, "epochs": 3}
    told |= {"subjects": ("bp4d/F001", "bp4d/F002"), "supervised": True}
    model, info = build_encoder(8, 1, arch), EncoderInfo(embedding_dim=8, image_size=32, arch=arch, **told)
    save_encoder(tmp_path / "encoder.safetensors", model, info)
    loaded = load_encoder(tmp_path)
    assert loaded.info == info and loaded.model.arch == arch
    assert_same_backbone(loaded.model, model)
    torch.save({f"module.{name}": value for name, value in model.state_dict().items()}, tmp_path / "foreign.pth")
    foreign = load_encoder(tmp_path / "foreign.pth", image_size=32, embedding_dim=8)
    assert (foreign.info.arch, foreign.digest) == (arch, loaded.digest)


def test_file_made_before_there_were_other_architectures_loads(tmp_path):
    model, info = build_encoder(8, 1), EncoderInfo(embedding_dim=8)
    for name in ("arch", "data_hash", "crop_size", "n_subjects", "subjects", "supervised"):
        old = asdict(info)
        del old[name]
        metadata = {"format": "tclr-encoder", "format_version": "1", "info": json.dumps(old)}
        save_file(model.state_dict(), tmp_path / "old.safetensors", metadata)
        assert load_encoder(tmp_path / "old.safetensors").info == info


def test_info_and_weights_of_different_architectures_are_refused(tmp_path):
    model, info = build_encoder(8, 0), EncoderInfo(embedding_dim=8, arch="mobilenet_v2")
    with pytest.raises(ModelError, match="info of a resnet18 encoder, but got 'mobilenet_v2' for .*a.safetensors"):
        save_encoder(tmp_path / "a.safetensors", model, info)
    for arch, message in {
        "mobilenet_v2": "of mobilenet_v2, but .*a.safetensors seems to hold resnet18",
        "vit_b_16": "facemesh, mobilenet_v2, resnet18, resnet50, but got 'vit_b_16' in .*a.safetensors. Upgrade",
    }.items():
        told = json.dumps(asdict(info) | {"arch": arch})
        metadata = {"format": "tclr-encoder", "format_version": "1", "info": told}
        save_file(model.state_dict(), tmp_path / "a.safetensors", metadata)
        with pytest.raises(ModelError, match=message):
            load_encoder(tmp_path / "a.safetensors")


def test_deeper_network_of_the_same_family_is_not_taken_for_the_shallower_one(tmp_path):
    weights = backbone_of(build_encoder(8, 0))
    block = {name.removeprefix("layer1.1."): value for name, value in weights.items() if name.startswith("layer1.1.")}
    torch.save(weights | {f"layer1.2.{name}": value for name, value in block.items()}, tmp_path / "resnet34.pth")
    with pytest.raises(ModelError, match="tensors of resnet18, but got 'resnet18.layer1.2.bn1.bias' in"):
        load_weights(build_encoder(8, 0), tmp_path / "resnet34.pth")


@pytest.mark.parametrize("fc1", [{}, {"fc1.weight": torch.zeros(8, 512)}])
def test_file_of_no_architecture_of_ours_says_which_there_are(tmp_path, fc1):
    torch.save({"patch_embed.weight": torch.zeros(3)} | fc1, tmp_path / "vit.pth")
    message = "densenet121, facemesh, mobilenet_v2, resnet18, resnet50, but those in .*vit.pth fit none of them"
    with pytest.raises(ModelError, match=message):
        load_weights(build_encoder(8, 0), tmp_path / "vit.pth")
    with pytest.raises(ModelError, match=message if fc1 else "layer 'fc1', but found none"):
        load_encoder(tmp_path / "vit.pth")


def test_reading_a_torchvision_file_leaves_other_draws_alone(tmp_path):
    torch.save(backbone_of(build_encoder(8, 0)), tmp_path / "a.pth")
    model = build_encoder(8, 0)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    load_weights(model, tmp_path / "a.pth")
    assert torch.rand(1) == expected
