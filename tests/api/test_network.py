"""``tclr.load_encoder``: a module that takes crops, and refuses what are none."""

import copy

import numpy as np
import pytest
import torch

import tclr
from tclr.pipeline.features import embeddings_of
from tclr.schemas.errors import InputError, ModelError, SettingError


@pytest.fixture(scope="module")
def crops(made):
    with tclr.open_store(made / "store") as store:
        return store.read_crops(store.clips[0])


@pytest.fixture(scope="module")
def encoder():
    return tclr.load_encoder(device="cpu")


def test_embeddings_are_those_of_the_features(made, crops, encoder):
    exported = embeddings_of(tclr.load_features(made / "features", "emb*", ["F001"]))
    assert isinstance(encoder, torch.nn.Module) and encoder.embedding_dim == 256
    for given in (crops, torch.from_numpy(crops)):
        np.testing.assert_allclose(encoder(given).numpy(), exported, atol=1e-3)  # LiteRT's, of pixels rounded otherwise
    assert torch.equal(encoder(crops[:3]), encoder(crops)[:3])
    assert encoder(crops[:0]).shape == (0, 256)


@pytest.mark.parametrize("fused", [False, True])
def test_what_was_learnt_counts_once_the_weights_are_frozen_again(crops, fused):
    encoder = tclr.load_encoder(device="cpu")
    before, copied = encoder(crops[:2]), copy.deepcopy(encoder)
    encoder.requires_grad_()
    optimizer = torch.optim.AdamW(encoder.parameters(), 0.05, fused=fused)
    encoder(crops[:2])[:, 0].sum().backward()
    optimizer.step()
    encoder.requires_grad_(False)
    assert not torch.allclose(encoder(crops[:2]), before, atol=0.01)
    assert torch.equal(copied(crops[:2]), before)
    with torch.inference_mode():
        assert torch.equal(tclr.load_encoder(device="cpu")(crops[:2]), before)


def test_gradients_flow_once_they_are_asked_for_and_numbers_agree(crops):
    encoder = tclr.load_encoder(device="cpu")
    before = encoder(crops[:2])
    assert not before.requires_grad
    encoder.requires_grad_()
    after = encoder(crops[:2])
    after.sum().backward()
    assert (
        after.requires_grad and sum(float(p.grad.abs().sum()) for p in encoder.parameters() if p.grad is not None) > 0
    )
    assert torch.allclose(before, after, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(encoder(crops[:2]), before)
    encoder.train()
    assert encoder(crops[:2]).requires_grad


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda crops: crops / 255, "uint8, RGB, but got .* float64"),
        (lambda crops: crops.astype(np.float32), "float32"),
        (lambda crops: crops.astype(np.int64), "int64"),
        (lambda crops: crops.transpose(0, 3, 1, 2), "channels last"),
        (lambda crops: crops[0], "shape"),
        (lambda crops: crops[:, 1:], "shape"),
        (lambda crops: crops[..., :1], "shape"),
        (lambda crops: (crops / 255).round().astype(np.uint8), "largest is 1"),
        (lambda crops: list(crops), "but got list"),
        (lambda crops: np.array(["a.png"]), "an array of <U5"),
        (lambda crops: crops[:, :0, :0], "shape"),
        (lambda crops: torch.from_numpy(crops).float(), "float32"),
    ],
)
def test_what_are_no_crops_is_an_error(crops, encoder, change, reason):
    with pytest.raises(InputError, match=reason):
        encoder(change(crops))


def test_other_encoders_go_by_file_or_name(made, crops, tmp_path):
    from tclr.pipeline.encoder import EncoderInfo, save_encoder, untrained_encoder

    made_here = untrained_encoder(EncoderInfo(embedding_dim=8, image_size=32, arch="mobilenet_v2"))
    save_encoder(tmp_path / "e.safetensors", made_here.model, made_here.info)
    assert torch.equal(tclr.load_encoder(tmp_path / "e.safetensors")(crops), torch.from_numpy(made_here.embed(crops)))
    assert tclr.load_encoder("random", seed=3).info.seed == 3
    for wrong in (tmp_path / "missing.safetensors", "bxo"):
        with pytest.raises(ModelError, match="no name of one, and no file .* Known names: box"):
            tclr.load_encoder(wrong)


@pytest.mark.parametrize("device", ["toaster", "cuda:97", 3.5])
def test_a_device_that_is_not_there_is_one_line(device):
    with pytest.raises(SettingError, match="Expected a device of this machine") as caught:
        tclr.load_encoder("box", device=device)
    assert "\n" not in str(caught.value)
