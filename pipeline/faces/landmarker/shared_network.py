"""One network for all threads of a process: what they ask for meanwhile is one call of it.

A GPU looks at sixteen pictures in little more time than at one. The clips of a process follow one face each, so that a
clip alone has one picture per frame. While the network runs for some clips, the others queue up, and the next call
takes all that wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from tclr.pipeline.faces.landmarker.torch_network import TorchNetwork

Run = Callable[[np.ndarray], list[np.ndarray]]
_OPENING = threading.Lock()


@dataclass
class _Request:
    """Pictures of a thread, and what became of them."""

    values: np.ndarray
    outputs: list[np.ndarray] = field(default_factory=list)
    error: Exception | None = None
    served: bool = False


class SharedNetwork:
    """Joins the calls of several threads; it can replace a ``Network``.

    ``run`` returns for (n, ...) inputs an output with n rows per kind, each of which depends on its own input only.

    >>> network = SharedNetwork(lambda values: [2 * values])
    >>> network(np.ones((1, 3)))
    [array([[2., 2., 2.]])]
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._running = threading.Lock()
        self._waiting: list[_Request] = []
        self._listing = threading.Lock()

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for n inputs, n >= 1, by a call of the network that may serve others, too."""
        own = _Request(values)
        with self._listing:
            self._waiting.append(own)
        with self._running:
            if not own.served:
                with self._listing:
                    requests, self._waiting = self._waiting, []
                self._serve(requests)
        if own.error is not None:
            raise own.error
        return own.outputs

    def _serve(self, requests: Sequence[_Request]) -> None:
        ends = np.cumsum([len(one.values) for one in requests]).tolist()
        try:
            outputs = self._run(np.concatenate([one.values for one in requests]))
            for one, end in zip(requests, ends, strict=True):
                one.outputs = [output[end - len(one.values) : end] for output in outputs]
        except BaseException as error:
            for one in requests:
                one.error = error if isinstance(error, Exception) else _interrupted()
            if not isinstance(error, Exception):
                raise
        finally:
            for one in requests:
                one.served = True


def _interrupted() -> RuntimeError:
    return RuntimeError("Expected landmarks, but another clip's thread was interrupted. Run the same command again.")


def shared_network(bundle: Path, name: str, device: str) -> SharedNetwork:
    """Return this process's network of the bundle on a device; the first call opens it.

    >>> from tclr.pipeline.faces import find_model
    >>> from tclr.pipeline.faces.landmarker.bundle import LANDMARKS
    >>> shared_network(find_model(), LANDMARKS, "cpu") is shared_network(find_model(), LANDMARKS, "cpu")
    True
    """
    with _OPENING:
        return _open(bundle, name, device)


@cache
def _open(bundle: Path, name: str, device: str) -> SharedNetwork:
    import torch

    return SharedNetwork(TorchNetwork(bundle, name, torch.device(device)))
