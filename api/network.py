"""An encoder as a PyTorch module that takes crops as they are stored: wrong ones are errors, not wrong numbers."""

from __future__ import annotations

from copy import copy
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tclr.encoders import encoder_file
from tclr.pipeline.encoder import EncoderInfo, LoadedEncoder, TorchEncoder, normalise, to_input
from tclr.pipeline.encoder import load_encoder as load
from tclr.schemas.errors import InputError, SettingError


class CropEncoder(nn.Module):
    """Turns crops (N, S, S, 3) uint8 RGB into embeddings (N, D) float32 of unit length.

    Crops are resized, cut and normalised here. The weights are frozen, and embeddings equal those of ``tclr embed``: to
    the last bit on a CPU, or to 1e-4 on average for architecture ``facemesh``, which LiteRT runs there. After
    ``requires_grad_()`` the network can be trained: gradients then flow, and the embeddings agree to rounding.

    ``info`` describes the network, its training and its input.
    """

    info: EncoderInfo

    def __init__(self, loaded: LoadedEncoder) -> None:
        super().__init__()
        is_torch = isinstance(loaded, TorchEncoder)
        self._loaded = loaded if is_torch else TorchEncoder(loaded.model, loaded.info, loaded.device)
        self.model = self._loaded.model
        self.info = loaded.info
        self.requires_grad_(False)
        self.eval()

    @property
    def embedding_dim(self) -> int:
        """Length D of an embedding."""
        return self._loaded.embedding_dim

    def forward(self, crops: Tensor | np.ndarray) -> Tensor:
        """Return the embeddings of crops, on the device of the weights.

        Raises
        ------
        InputError
            If the crops are not (N, S, S, 3) uint8, or look like values of 0 to 1 that were cut to whole numbers.
        """
        checked = check_crops(crops)
        device = next(self.model.parameters()).device
        wants_gradient = torch.is_grad_enabled() and any(p.requires_grad for p in self.model.parameters())
        if self.training or wants_gradient:
            return self.model(normalise(to_input(checked.to(device), self.info), self.info))
        loaded = copy(self._loaded)
        loaded.device = device
        return torch.from_numpy(loaded.embed(checked.cpu().numpy())).to(device)


def check_crops(crops: Any) -> Tensor:
    """Return crops as a tensor if they are (N, S, S, 3) uint8 with values of pictures."""
    is_numbers = isinstance(crops, np.ndarray) and crops.dtype.kind in "biufc"
    tensor = torch.from_numpy(np.ascontiguousarray(crops)) if is_numbers else crops
    if not isinstance(tensor, Tensor):
        raise InputError(f"Expected crops as a tensor or an array, but got {_describe(crops)}. Stack them first.")
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    if tensor.ndim != 4 or not shape[1] or shape[1] != shape[2] or shape[3] != 3 or tensor.dtype != torch.uint8:
        raise InputError(
            f"Expected crops of shape (n, S, S, 3) and dtype uint8, RGB, but got {shape} and {dtype}. Give them as "
            "store.read_crops returns them: not scaled, not normalised, channels last."
        )
    if tensor.numel() and int(tensor.max()) == 1:
        raise InputError(
            "Expected crops with values of 0 to 255, but the largest is 1. Multiply by 255 before casting to uint8."
        )
    return tensor


def _describe(crops: Any) -> str:
    return f"an array of {crops.dtype}" if isinstance(crops, np.ndarray) else type(crops).__name__


def _open_device(device: str | torch.device | None) -> torch.device | None:
    """Return the device if this machine has it."""
    if device is None:
        return None
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        raise SettingError(
            f"Expected a device of this machine such as 'cpu', but got {device!r}: {reason:.80}. Leave it out."
        ) from None


def load_encoder(
    name_or_file: str | PathLike[str] = "box", *, device: str | torch.device | None = None, seed: int = 0
) -> CropEncoder:
    """Load an encoder as a PyTorch module that takes crops as a store has them.

    Parameters
    ----------
    name_or_file : str or Path
        ``box`` for the bundled network, a file or run folder of ``tclr pretrain``, a fine-tuned head, or ``random``.
    device : str or torch.device, optional
        Default the GPU if there is one.
    seed : int
        Seed of ``random``.

    Returns
    -------
    torch.nn.Module
        ``encoder(crops)`` takes (N, S, S, 3) uint8 RGB crops, a tensor or an array, and does its own resizing and
        normalising. It returns (N, D) float32 of unit length: what ``tclr embed`` writes as ``emb_000`` and so on, but
        for the rounding that ``CropEncoder`` describes.

    Raises
    ------
    SettingError
        If this machine does not have the device.
    ModelError
        If the file is missing, does not fit, or has no trained embedding layer.

    Examples
    --------
    >>> encoder = load_encoder("box")
    >>> with open_store("store") as store:
    ...     embeddings = encoder(store.read_crops(store.clips[0], 0, 4))
    >>> embeddings.shape
    torch.Size([4, 256])
    >>> encoder(np.zeros((4, 3, 224, 224), np.float32))
    Traceback (most recent call last):
    tclr.schemas.errors.InputError: Expected crops of shape (n, S, S, 3) and dtype uint8, RGB, but got ...
    """
    return CropEncoder(load(encoder_file(name_or_file), device=_open_device(device), seed=seed))
