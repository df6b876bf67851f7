"""The backbones against facts that others published: names, counts, operations, and features for the same weights."""

from typing import get_args

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tclr.pipeline.encoder.backbones import BACKBONES
from tclr.schemas.config import PretrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

# torchvision's documentation of the weights: parameters and 10^9 multiply-adds at 224 px, both with 1000 classes
PUBLISHED = {
    "resnet18": (11_689_512, 1.81),
    "resnet50": (25_557_032, 4.09),
    "densenet121": (7_978_856, 2.83),
    "mobilenet_v2": (3_504_872, 0.30),
}
LANDMARKS = {
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.1.conv2.weight": (64, 64, 3, 3),
        "layer2.0.conv1.weight": (128, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer4.0.downsample.1.bias": (512,),
        "layer4.1.bn2.num_batches_tracked": (),
    },
    "resnet50": {
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.conv2.weight": (64, 64, 3, 3),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer3.5.conv3.weight": (1024, 256, 1, 1),
        "layer4.0.conv1.weight": (512, 1024, 1, 1),
        "layer4.2.bn3.running_var": (2048,),
    },
    "densenet121": {
        "features.conv0.weight": (64, 3, 7, 7),
        "features.denseblock1.denselayer6.norm1.weight": (224,),
        "features.denseblock1.denselayer6.conv1.weight": (128, 224, 1, 1),
        "features.transition1.conv.weight": (128, 256, 1, 1),
        "features.denseblock3.denselayer24.conv2.weight": (32, 128, 3, 3),
        "features.transition3.norm.bias": (1024,),
        "features.norm5.running_mean": (1024,),
    },
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.18.0.weight": (1280, 320, 1, 1),
        "features.18.1.running_var": (1280,),
    },
}
# of MONAI 1.6.1 (mobilenet_v2: transformers 5.23.0), with the weights of `fill` and the picture of `noise`
FEATURES = {
    "resnet18": [9.557, 3.9042, 3.8676, 4.7096, 18.2815, 7.1048],
    "resnet50": [3244.6946, 449.4203, 1339.0898, 280.9877, 1242.6555, 933.1859],
    "densenet121": [1.4701, 0.0, 0.1792, 0.0, 0.2233, 0.0],
    "mobilenet_v2": [1.8439, 0.3429, 0.0, 0.3711, 4.8051, 0.6641],
}


def norm(name):
    return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]


def resnet_names(n_blocks, n_convs):
    names = ["conv1.weight", *norm("bn1")]
    for layer, count in enumerate(n_blocks, start=1):
        for block in (f"layer{layer}.{number}" for number in range(count)):
            for conv in range(1, n_convs + 1):
                names += [f"{block}.conv{conv}.weight", *norm(f"{block}.bn{conv}")]
        if layer > 1 or n_convs == 3:
            names += [f"layer{layer}.0.downsample.0.weight", *norm(f"layer{layer}.0.downsample.1")]
    return names


def densenet_names():
    names = ["conv0.weight", *norm("norm0"), *norm("norm5")]
    for block, count in zip((1, 2, 3, 4), (6, 12, 24, 16), strict=True):
        for layer in (f"denseblock{block}.denselayer{number}" for number in range(1, count + 1)):
            names += [
                f"{layer}.conv1.weight",
                f"{layer}.conv2.weight",
                *norm(f"{layer}.norm1"),
                *norm(f"{layer}.norm2"),
            ]
    for number in (1, 2, 3):
        names += [f"transition{number}.conv.weight", *norm(f"transition{number}.norm")]
    return [f"features.{name}" for name in names]


def mobilenet_names():
    names = [name for place in (0, 18) for name in (f"{place}.0.weight", *norm(f"{place}.1"))]
    names += ["1.conv.0.0.weight", *norm("1.conv.0.1"), "1.conv.1.weight", *norm("1.conv.2")]  # does not expand
    for block in (f"{number}.conv" for number in range(2, 18)):
        for part in ("0", "1"):
            names += [f"{block}.{part}.0.weight", *norm(f"{block}.{part}.1")]
        names += [f"{block}.2.weight", *norm(f"{block}.3")]
    return [f"features.{name}" for name in names]


NAMES = {
    "resnet18": resnet_names((2, 2, 2, 2), 2),
    "resnet50": resnet_names((3, 4, 6, 3), 3),
    "densenet121": densenet_names(),
    "mobilenet_v2": mobilenet_names(),
}


@pytest.fixture(scope="module", params=PUBLISHED)
def arch(request):
    return request.param


@pytest.fixture(scope="module")
def model(arch):
    torch.manual_seed(0)
    return BACKBONES[arch].build().eval()


def noise(shape):
    """Return numbers in -0.5..0.5 that any machine and library draws alike."""
    index = torch.arange(1000, 1000 + torch.Size(shape).numel())
    return ((index * index % 65521) / 65521 - 0.5).view(shape)


def fill(model):
    for name, value in model.state_dict().items():
        if value.ndim == 4:
            value.copy_(noise(value.shape) * (24 / value[0].numel()) ** 0.5)
        elif name.endswith(("weight", "running_var")):
            value.copy_(1 + noise(value.shape))
        elif value.ndim:
            value.copy_(noise(value.shape))


def test_settings_offer_the_registry():
    assert set(get_args(PretrainConfig.model_fields["arch"].annotation)) == set(BACKBONES) == {*PUBLISHED, "facemesh"}


def test_backbone_has_torchvisions_names_and_sizes(arch, model):
    own = model.state_dict()
    assert sorted(own) == sorted(NAMES[arch])
    assert {name: tuple(own[name].shape) for name in LANDMARKS[arch]} == LANDMARKS[arch]


@torch.no_grad()
def test_backbone_with_a_classifier_has_the_published_parameters_and_operations(arch, model):
    n_parameters, giga_multiply_adds = PUBLISHED[arch]
    whole = nn.Sequential(model, nn.Linear(BACKBONES[arch].n_features, 1000))
    with FlopCounterMode(display=False) as counter:
        whole(torch.zeros(1, 3, 224, 224))
    assert sum(parameter.numel() for parameter in whole.parameters()) == n_parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_multiply_adds, abs=0.005)


def test_weights_start_as_torchvisions_do(arch, model):
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5_000:
            sides = module.weight.shape[2] * module.weight.shape[3]
            fan = sides * module.weight.shape[1 if arch == "densenet121" else 0]  # He et al. 2015, in or out
            assert module.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.all(module.weight == 1) and not module.bias.any()


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 61)])
def test_features_come_in_one_length_whatever_the_size_of_the_picture(arch, model, size):
    features = model(noise((2, 3, *size)))
    assert features.shape == (2, BACKBONES[arch].n_features) and features.isfinite().all()


@torch.no_grad()
def test_features_are_those_of_other_libraries_with_the_same_weights(arch):
    model = BACKBONES[arch].build().eval()
    fill(model)
    features = model(noise((1, 3, 64, 48)))
    torch.testing.assert_close(features[0, :6], torch.tensor(FEATURES[arch]), rtol=1e-3, atol=1e-3)
