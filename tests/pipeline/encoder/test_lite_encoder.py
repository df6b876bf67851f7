"""The encoder that LiteRT runs: the same numbers as PyTorch's, without PyTorch."""

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tclr.pipeline.au import BOX
from tclr.pipeline.encoder import (
    EncoderInfo,
    LiteEncoder,
    TorchEncoder,
    build_encoder,
    load_encoder,
    open_encoder,
    save_encoder,
    to_input,
)
from tclr.pipeline.encoder.lite_encoder import cut_centre
from tclr.pipeline.system import limit_threads
from tclr.schemas.errors import ModelError

pytestmark = pytest.mark.usefixtures("one_thread")
INFO = EncoderInfo(embedding_dim=8, image_size=128, crop_ratio=0.8, arch="facemesh")


@pytest.fixture(scope="module")
def model():
    """A network in which everything matters: norms have seen pictures, and slopes and biases differ."""
    model = build_encoder(8, 0, "facemesh")
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
        model.train()(torch.rand(16, 3, 128, 128, generator=draw))
    return model.eval()


@pytest.fixture(scope="module")
def crops():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, 160, 160, 3), np.uint8)  # as large as resized: not resized


@pytest.mark.parametrize("size", [128, 256, 384])
@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.45, 0.22)])
def test_embeddings_are_those_of_pytorch(model, crops, size, scale):
    mean, std = scale
    info = replace(INFO, image_size=size, mean=(mean, mean, mean / 2), std=(std, std, std * 2))
    pictures = np.repeat(np.repeat(crops, size // 128, axis=1), size // 128, axis=2)
    torch_encoder = TorchEncoder(model, info, torch.device("cpu"))
    encoder = LiteEncoder(torch_encoder.weights(), info)
    expected = torch_encoder.embed(pictures)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    np.testing.assert_allclose(encoder.embed(pictures), expected, atol=2e-5)
    np.testing.assert_allclose(encoder.embed_now(pictures), expected, atol=2e-5)
    assert encoder.digest == torch_encoder.digest and encoder.embedding_dim == 8


@pytest.mark.parametrize("side", [64, 100, 159, 183, 224, 300])
@pytest.mark.parametrize("ratio", [1.0, 0.8, 0.7])
def test_crops_are_resized_as_in_training(side, ratio):
    crop = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    info = replace(INFO, crop_ratio=ratio)
    expected = to_input(torch.from_numpy(crop[None]), info)[0].permute(1, 2, 0).numpy() * 255
    difference = np.abs(cut_centre(crop, round(128 / ratio), 128) - expected)
    assert difference.max() < 2.01 and difference.mean() < 0.2


def test_a_crops_embedding_does_not_depend_on_others_or_on_threads(model, crops):
    encoder = open_encoder(TorchEncoder(model, INFO).weights(), INFO, "here", torch.device("cpu"))
    assert isinstance(encoder, LiteEncoder)
    together = encoder.embed(crops)
    before = limit_threads(3)
    try:
        apart = np.concatenate(list(encoder.embed_all([crops[:1], crops[1:1], crops[1:]])))
    finally:
        limit_threads(before)
    assert np.array_equal(apart, together) and np.array_equal(encoder.embed_now(crops), together)
    assert encoder.embed(crops[:0]).shape == encoder.embed_now(crops[:0]).shape == (0, 8)


def test_the_network_in_pytorch_is_at_hand(model, crops):
    encoder = LiteEncoder(TorchEncoder(model, INFO).weights(), INFO)
    own = encoder.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in model.state_dict().items())
    coarse = encoder.with_precision("bf16")
    assert encoder.with_precision("fp32") is encoder and coarse.precision == "bf16"
    assert 0 < np.abs(coarse.embed(crops) - encoder.embed(crops)).max() < 0.1


def test_another_device_side_or_architecture_is_for_pytorch(model):
    weights = TorchEncoder(model, INFO).weights()
    assert isinstance(open_encoder(weights, INFO, "here", torch.device("meta")), TorchEncoder)
    assert isinstance(open_encoder(weights, replace(INFO, image_size=120), "here"), TorchEncoder)
    other = replace(INFO, arch="mobilenet_v2")
    assert isinstance(
        open_encoder(TorchEncoder(build_encoder(8, 0, "mobilenet_v2"), other).weights(), other, "here"), TorchEncoder
    )


def without(name):
    return lambda weights: {other: value for other, value in weights.items() if other != name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("facemesh.stages.2.1.leave.bias"), "'facemesh.stages.2.1.leave.bias', but .* has none"),
        (without("facemesh.norm.weight"), "'facemesh.norm.weight'"),
        (lambda weights: weights | {"facemesh.stages.9.weight": np.zeros(3)}, "got 'facemesh.stages.9.weight'"),
        (lambda weights: weights | {"fc1.weight": np.zeros((9, 2048), np.float32)}, r"but got \(9, 2048\)"),
        (lambda weights: weights | {"facemesh.stages.0.0.enter.bias": np.zeros(2)}, r"but got \(2,\)"),
        (lambda weights: weights | {"fc1.bias": np.zeros(8, np.complex64)}, "real numbers for 'fc1.bias'"),
        (lambda weights: weights | {"fc1.bias": np.full(8, np.nan)}, "finite numbers, .* for 'fc1.bias'"),
        (lambda weights: weights | {"fc1.bias": np.full(8, 1e300)}, "finite numbers, .* for 'fc1.bias'"),
        (lambda weights: weights | {"facemesh.norm.running_var": -np.ones(2048)}, "negative variance"),
    ],
)
def test_weights_that_do_not_fit_are_refused_as_others_are(model, change, reason):
    weights = change(TorchEncoder(model, INFO).weights())
    with pytest.raises(ModelError, match=reason):
        open_encoder(weights, INFO, "here")


def test_a_file_of_old_weights_without_counters_loads(tmp_path, model, crops):
    save_encoder(tmp_path / "encoder.safetensors", model, INFO)
    loaded = load_encoder(tmp_path)
    weights = without("facemesh.norm.num_batches_tracked")(loaded.weights())
    np.testing.assert_allclose(open_encoder(weights, INFO, "here").embed(crops), loaded.embed(crops), atol=1e-5)


@pytest.mark.parametrize("kind", [np.int32, np.int8, np.float64])
def test_numbers_of_another_type_are_those_that_pytorch_would_use(model, crops, kind):
    weights = TorchEncoder(model, INFO).weights()
    for name in ("fc1.bias", "facemesh.stages.0.0.enter.weight", "facemesh.norm.num_batches_tracked"):
        weights[name] = np.round(3 * weights[name]).astype(kind)
    encoder = open_encoder(weights, INFO, "here")
    again = TorchEncoder(encoder.model, INFO)
    assert isinstance(encoder, LiteEncoder) and encoder.digest == again.digest
    np.testing.assert_allclose(encoder.embed(crops), again.embed(crops), atol=2e-5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn])
def test_files_of_types_that_numpy_lacks_load(tmp_path, model, crops, kind):
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    tensors = {name: value.to(kind) if value.is_floating_point() else value for name, value in state.items()}
    save_encoder(tmp_path / "own.safetensors", model, INFO)
    with safe_open(tmp_path / "own.safetensors", "pt") as file:
        save_file(tensors, tmp_path / "small.safetensors", file.metadata())
    code = (
        "import sys, numpy as np\nfrom tclr.pipeline.encoder import load_encoder\n"
        "encoder = load_encoder(sys.argv[1])\nprint(type(encoder).__name__, encoder.digest)"
    )
    path = str(tmp_path / "small.safetensors")
    told = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout
    rounded = {name: value.to(state[name].dtype).numpy() for name, value in tensors.items()}
    assert told.split() == ["LiteEncoder", LiteEncoder(rounded, INFO).digest]


def test_copies_and_pickles_embed_the_same(model, crops):
    encoder = LiteEncoder(TorchEncoder(model, INFO).weights(), INFO)
    expected = encoder.embed(crops)
    for copied in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        np.testing.assert_array_equal(copied.embed(crops), expected)


def test_the_bundled_encoder_runs_without_pytorch():
    code = (
        "import sys, numpy as np\nfrom tclr.pipeline.au import BOX, SIGHT, load_head, load_judge\n"
        "from tclr.pipeline.encoder import load_encoder\nencoder = load_encoder(BOX)\n"
        "crops = np.zeros((2, 64, 64, 3), np.uint8)\nprint(encoder.embed(crops).shape, encoder.digest[:12])\n"
        "load_judge(SIGHT).see(crops), load_head(BOX).encoder\nassert 'torch' not in sys.modules"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split(")")[0] == "(2, 256" and told.stderr == ""
    assert told.stdout.split()[-1] == TorchEncoder(load_encoder(BOX).model, load_encoder(BOX).info).digest[:12]
