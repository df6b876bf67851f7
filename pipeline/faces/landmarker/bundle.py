"""The files of the bundle, and its networks, opened by LiteRT."""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path

from tclr.pipeline.system import LiteNetwork, wide_lanes, widen_network
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


@cache
def open_network(bundle: Path, name: str) -> LiteNetwork:
    """Return a network of the bundle; a process opens each once, for all its clips.

    The landmark network begins with layers of 8 channels, which are widened where that is faster, see
    ``widen_network``. Outputs are the same to the bit.

    >>> import numpy as np
    >>> from tclr.pipeline.faces import find_model
    >>> points = np.zeros((1, 146, 2), np.float32)
    >>> [output.shape for output in open_network(find_model(), BLENDSHAPES)(points)]
    [(1, 52)]
    """
    model = read_entry(bundle, name)
    return LiteNetwork(widen_network(model, wide_lanes()) if name == LANDMARKS and wide_lanes() > 1 else model)
