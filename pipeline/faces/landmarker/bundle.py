"""The networks of the bundle, opened by LiteRT: arrays in, arrays out, on one thread."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.system import quiet_unless_verbose
from tclr.schemas.errors import ModelError

BOXES, LANDMARKS, BLENDSHAPES = (
    f"{name}.tflite" for name in ("face_detector", "face_landmarks_detector", "face_blendshapes")
)
"""Names of the networks in the bundle."""
GPU_STEP = 16
"""Pictures that a GPU looks at in one pass."""
CANONICAL_FACE = "geometry_pipeline_metadata_landmarks.binarypb"
"""Name of the face that a pose is measured against."""


def read_entry(bundle: Path, name: str) -> bytes:
    """Return a file of the bundle.

    Raises
    ------
    ModelError
        If the bundle has no such file.
    """
    try:
        with zipfile.ZipFile(bundle) as archive:
            return archive.read(name)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"Expected {name} in {bundle}, but got {error!r}. Delete the file: tclr fetches it again."
        ) from error


class Network:
    """A network of the bundle, for one thread at a time.

    >>> import numpy as np
    >>> from tclr.pipeline.faces import find_model
    >>> points = np.zeros((1, 146, 2), np.float32)
    >>> [output.shape for output in Network(find_model(), BLENDSHAPES)(points)]
    [(1, 52)]
    """

    def __init__(self, bundle: Path, name: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        model = read_entry(bundle, name)
        with quiet_unless_verbose():  # LiteRT reports its delegate
            self._runtime: Any = Interpreter(model_content=model, num_threads=1)
            self._runtime.allocate_tensors()
        (self._input,) = self._runtime.get_input_details()
        self._outputs = self._runtime.get_output_details()

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for n inputs, n >= 1: (n, numbers) float32 each, in the network's order.

        Each input is a pass of its own: larger ones are no faster on a CPU (docs/detectors.md).
        """
        passes = [self._run(values[place : place + 1]) for place in range(len(values))]
        return [np.concatenate(parts) for parts in zip(*passes, strict=True)]

    def _run(self, values: np.ndarray) -> list[np.ndarray]:
        self._runtime.set_tensor(self._input["index"], values)
        self._runtime.invoke()
        return [self._runtime.get_tensor(output["index"]).reshape(1, -1) for output in self._outputs]
