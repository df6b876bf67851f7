"""The network: ResNet-18 -> 512 -> linear 256 -> L2 norm, and the one file that holds a trained one.

Parameter names are torchvision's under ``resnet18.`` and ``fc1.`` for the linear layer, as in the paper's released
checkpoint, so ImageNet weights and those weights load as they are. Source: He et al., "Deep Residual Learning for
Image Recognition", CVPR 2016; Lu et al., BMVC 2020, section 4.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from tclr.pipeline.files import replacing
from tclr.schemas.errors import InputError, ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FORMAT = "tclr-encoder"
FORMAT_VERSION = 1


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut (He et al. 2016, figure 5, left)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, H, W) to (N, n_out, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(nn.Module):
    """ResNet-18 without its classifier: (N, 3, H, W) float32 to (N, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = self._layer(64, 64, 1)
        self.layer2 = self._layer(64, 128, 2)
        self.layer3 = self._layer(128, 256, 2)
        self.layer4 = self._layer(256, 512, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _layer(n_in: int, n_out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(n_in, n_out, stride), BasicBlock(n_out, n_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 512) pooled features."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


class TemporalEncoder(nn.Module):
    """The paper's encoder: (N, 3, H, W) normalised float32 to (N, embedding_dim) of unit length."""

    def __init__(self, embedding_dim: int = 256) -> None:
        super().__init__()
        self.resnet18 = ResNet18()
        self.fc1 = nn.Linear(512, embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, embedding_dim) embeddings, L2-normalised."""
        return functional.normalize(self.fc1(self.resnet18(x)), dim=1)


@dataclass(frozen=True)
class EncoderInfo:
    """What a user of an encoder file must know.

    ``image_size`` is the input side in pixels; crops are resized to ``image_size / crop_ratio`` and their centre is
    taken. ``mean`` and ``std`` are subtracted and divided after scaling to 0..1. The other fields say how it came
    about.
    """

    embedding_dim: int = 256
    image_size: int = 224
    crop_ratio: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    arch: str = "resnet18"
    recipe: str = "random"
    epochs: int = 0
    seed: int = 0
    detect_hash: str = ""
    align_hash: str = ""
    tclr_version: str = ""


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resized_side(info: EncoderInfo) -> int:
    """Return the side in pixels that crops are resized to before a part of ``image_size`` is cut out."""
    return round(info.image_size / info.crop_ratio)


def to_input(frames: Tensor, info: EncoderInfo) -> Tensor:
    """Resize and scale crops: the part of the input transform that training and embedding share.

    Parameters
    ----------
    frames : Tensor
        (N, S, S, 3) uint8 RGB on any device.
    info : EncoderInfo
        Sizes.

    Returns
    -------
    Tensor
        (N, 3, R, R) float32 in 0..1 with R = ``resized_side(info)``; antialiased.
    """
    x = frames.permute(0, 3, 1, 2).float().div_(255)
    side = resized_side(info)
    if x.shape[-1] == side:
        return x
    return functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def normalise(x: Tensor, info: EncoderInfo) -> Tensor:
    """Subtract the mean and divide by the standard deviation, (N, 3, H, W), channels last in memory."""
    mean = torch.tensor(info.mean, device=x.device).view(1, 3, 1, 1)
    std = torch.tensor(info.std, device=x.device).view(1, 3, 1, 1)
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def centre_crop(x: Tensor, size: int) -> Tensor:
    """Return the central (N, C, size, size) part."""
    top = (x.shape[-2] - size) // 2
    left = (x.shape[-1] - size) // 2
    return x[..., top : top + size, left : left + size]


class LoadedEncoder:
    """An encoder ready to embed crops."""

    def __init__(self, model: TemporalEncoder, info: EncoderInfo, device: torch.device | None = None) -> None:
        self.device = device or default_device()
        self.model = model.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.info = info
        self.digest = encoder_digest(model, info)
        self.embedding_dim = info.embedding_dim

    @torch.inference_mode()
    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Embed crops.

        Parameters
        ----------
        frames : ndarray
            (n, S, S, 3) uint8 RGB; n may be 0.

        Returns
        -------
        ndarray
            (n, embedding_dim) float32 of unit length.

        Raises
        ------
        InputError
            If the array is of another shape or dtype; values in 0..1 would otherwise give wrong features silently.
        """
        if frames.ndim != 4 or frames.shape[1] != frames.shape[2] or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise InputError(
                f"Expected frames of shape (n, S, S, 3) and dtype uint8, but got {frames.shape} and {frames.dtype}. "
                "Give RGB crops as 'tclr preprocess' stores them."
            )
        x = to_input(torch.from_numpy(frames).to(self.device), self.info)
        return self.model(normalise(centre_crop(x, self.info.image_size), self.info)).cpu().numpy()


def encoder_digest(model: TemporalEncoder, info: EncoderInfo) -> str:
    """Return the SHA-256 of what determines embeddings: weights in order of name, and the input transform."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps([info.image_size, info.crop_ratio, info.mean, info.std]).encode())
    return digest.hexdigest()


def save_encoder(path: Path, model: TemporalEncoder, info: EncoderInfo) -> None:
    """Write one ``.safetensors`` file with the weights and the info.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "info": json.dumps(asdict(info))}
    with replacing(path) as temporary:
        temporary.write_bytes(save(weights, metadata))


def parse_info(text: str, where: str) -> EncoderInfo:
    """Read the info that ``save_encoder`` wrote as JSON; fields that a newer tclr added are left out.

    Raises
    ------
    ModelError
        If it is no such JSON.
    """
    known = {field.name for field in fields(EncoderInfo)}
    try:
        values = {name: value for name, value in json.loads(text).items() if name in known}
        return EncoderInfo(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"Expected the info of an encoder, but cannot read it in {where}: {error!r}. "
            "The file is damaged: write it again with 'tclr pretrain'."
        ) from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], EncoderInfo | None]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"Expected an encoder file (.safetensors), but cannot read {path}: {error}.") from error
    if "format" not in metadata:
        return weights, None
    if metadata["format"] != FORMAT:
        raise ModelError(
            f"Expected a file of format {FORMAT!r}, but got {metadata['format']!r}: {path}. Give an encoder, "
            "as 'tclr pretrain' writes it."
        )
    if metadata.get("format_version") not in [str(number + 1) for number in range(FORMAT_VERSION)]:
        raise ModelError(
            f"Expected encoder format {FORMAT_VERSION} or older, but got {metadata.get('format_version')}: {path}. "
            "Upgrade tclr to read it."
        )
    return weights, parse_info(metadata.get("info", ""), str(path))


def _read_pickle(path: Path) -> tuple[dict[str, Tensor], EncoderInfo | None]:
    """Read a checkpoint of torch, weights only: code in it is never run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails in many ways on a damaged or foreign file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"Expected a checkpoint of weights only, but cannot read {path}: {reason} "
            "Give a file of tensors, as torch.save writes a state dictionary."
        ) from error
    ours = isinstance(content, dict) and "encoder_info" in content
    info = parse_info(content["encoder_info"], str(path)) if ours else None
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(
            f"Expected a dictionary of tensors, but got {type(content).__name__} in {path}. "
            "Give the state dictionary of a ResNet-18 encoder."
        )
    return content, info


def _plain_name(name: str) -> str:
    """Return a parameter's name as ours: without ``module.``, and under ``resnet18.`` if it is torchvision's."""
    name = name.removeprefix("module.")
    return name if name.startswith(("resnet18.", "fc1.")) else f"resnet18.{name}"


def read_weights(source: str | Path) -> tuple[dict[str, Tensor], EncoderInfo | None]:
    """Read the tensors of a file, under our names.

    Parameters
    ----------
    source : str or Path
        A ``.safetensors`` file, a run folder (its encoder.safetensors), or a checkpoint of torch.

    Returns
    -------
    (dict, EncoderInfo or None)
        Tensors, on the CPU; and what the file says of itself, if it is ours.

    Raises
    ------
    ModelError
        If the file is missing or cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "encoder.safetensors"
        if not path.is_file():
            raise ModelError(
                f"Expected a finished run with encoder.safetensors, but found none in {source}. "
                "Run 'tclr pretrain' to its end."
            )
    if not path.is_file():
        raise ModelError(f"Expected an encoder file, but found nothing at {path}. Check the path.")
    weights, info = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return {_plain_name(name): value for name, value in weights.items()}, info


def _has_embedding_layer(weights: dict[str, Tensor]) -> bool:
    return any(name.startswith("fc1.") for name in weights)


def fit_weights(model: TemporalEncoder, weights: dict[str, Tensor], where: str) -> None:
    """Put tensors into a model; ImageNet's have no ``fc1``, which then stays as it is.

    Raises
    ------
    ModelError
        If a tensor is missing or of another size.
    """
    own = model.state_dict()
    imagenet = not _has_embedding_layer(weights)
    for name, value in own.items():
        if name.startswith("fc1.") and imagenet:
            continue
        if name not in weights:
            if name.endswith("num_batches_tracked"):
                continue
            raise ModelError(f"Expected tensor {name!r}, but it is missing in {where}. Is it a ResNet-18 encoder?")
        if weights[name].shape != value.shape:
            raise ModelError(
                f"Expected {name!r} of size {tuple(value.shape)}, but got {tuple(weights[name].shape)} in {where}. "
                "It is a checkpoint of another size: give one of this architecture and --embedding-dim."
            )
    model.load_state_dict({name: weights.get(name, value) for name, value in own.items()})


def load_weights(model: TemporalEncoder, source: str | Path) -> EncoderInfo | None:
    """Start a model from a file: ours, the paper's, or torchvision's ImageNet weights (then without fc1).

    Returns
    -------
    EncoderInfo or None
        What the file says of itself, if it is ours.

    Raises
    ------
    ModelError
        If the file cannot be read, or a tensor is missing or of another size.
    """
    weights, info = read_weights(source)
    fit_weights(model, weights, str(source))
    return info


def build_encoder(embedding_dim: int, seed: int) -> TemporalEncoder:
    """Return an untrained encoder; the same seed gives the same weights and leaves other draws alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TemporalEncoder(embedding_dim)


def load_encoder(
    source: str | Path,
    *,
    device: torch.device | None = None,
    seed: int = 0,
    image_size: int = 224,
    embedding_dim: int = 256,
) -> LoadedEncoder:
    """Load an encoder.

    Parameters
    ----------
    source : str or Path
        A ``.safetensors`` file, a run folder of ``tclr pretrain`` or its checkpoint.pt, a ``.pt`` checkpoint with
        the paper's names, or ``random`` for an untrained baseline.
    device : torch.device, optional
        Default: the GPU if there is one.
    seed : int
        Seed of ``random``.
    image_size, embedding_dim : int
        Used where the file does not say.

    Raises
    ------
    ModelError
        If there is no such file, it does not fit, or it holds no trained embedding layer.
    """
    info = EncoderInfo(embedding_dim=embedding_dim, image_size=image_size, seed=seed)
    if str(source) == "random":
        return LoadedEncoder(build_encoder(embedding_dim, seed), info, device)
    weights, stored = read_weights(source)
    if not _has_embedding_layer(weights):
        raise ModelError(
            f"Expected an encoder with the layer 'fc1', but found none in {source}: its embeddings were never trained. "
            "Give such weights to 'tclr pretrain --init'."
        )
    info = stored or replace(info, recipe=Path(source).name)
    model = build_encoder(info.embedding_dim, seed)
    fit_weights(model, weights, str(source))
    return LoadedEncoder(model, info, device)
