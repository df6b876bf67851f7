"""Runs a TensorFlow Lite model by LiteRT: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tclr.pipeline.system.native_output import quiet_unless_verbose


class LiteNetwork:
    """A TensorFlow Lite model with one input; every thread that calls it at the same time has a copy of its own.

    >>> writer = NetworkWriter((1, 2))
    >>> double = writer.finish(writer.linear(writer.input, 2 * np.eye(2, dtype=np.float32), np.zeros(2, np.float32)))
    >>> LiteNetwork(double)(np.array([[1, 2], [3, 4]], np.float32))[0].tolist()
    [[2.0, 4.0], [6.0, 8.0]]
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._idle = [_Copy(model)]

    def __reduce__(self) -> tuple[type[LiteNetwork], tuple[bytes]]:
        return LiteNetwork, (self._model,)

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for n float32 inputs, n >= 1: (n, numbers) float32 each, in the network's order.

        Each input is a pass of its own, on one thread: larger ones are no faster on a CPU (docs/detectors.md). Outputs
        therefore never depend on the other inputs.
        """
        try:
            copy = self._idle.pop()
        except IndexError:
            copy = _Copy(self._model)
        passes = [copy.run(values[place : place + 1]) for place in range(len(values))]
        self._idle.append(copy)
        return [np.concatenate(parts) for parts in zip(*passes, strict=True)]


class _Copy:
    """The model, opened for one thread at a time."""

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet_unless_verbose():  # LiteRT reports its delegate
            self._runtime: Any = Interpreter(model_content=model, num_threads=1)
            self._runtime.allocate_tensors()
        (self._input,) = self._runtime.get_input_details()
        self._outputs = self._runtime.get_output_details()

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for one input, (1, numbers) each."""
        self._runtime.set_tensor(self._input["index"], values)
        self._runtime.invoke()
        return [self._runtime.get_tensor(output["index"]).reshape(1, -1) for output in self._outputs]
