"""Fixtures for all tests: a real portrait that a dependency ships, small videos, a browser, optional shared data."""

from __future__ import annotations

import logging
import os
import pty
import re
import shutil
import struct
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from fcntl import ioctl
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: processes that share cores take one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
FLAGS += "--disable-component-update --disable-sync --hide-scrollbars"
"""Of the browser."""


@pytest.fixture(autouse=True)
def ordinary_priority():
    """Take back the real-time priority that SVT-AV1 gives to a process of root: other tests would wait for this one."""
    yield
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(autouse=True)
def fresh_logger():
    """Give each test the logger as a new process has it: the command line sets its level and a handler."""
    logger = logging.getLogger("tclr")
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """scikit-image's astronaut, (512, 512, 3) uint8 RGB: one face."""
    import skimage

    return cv2.imread(str(Path(skimage.__file__).parent / "data/astronaut.png"), cv2.IMREAD_COLOR_RGB)


@pytest.fixture(scope="session")
def moving_portrait(portrait) -> Callable[[int], list[np.ndarray]]:
    """Return a function that gives n frames of the portrait's head, 240 x 240, drifting by a pixel a frame."""

    def make(n_frames: int) -> list[np.ndarray]:
        return [np.ascontiguousarray(portrait[: 240 + 0, 100 + i % 20 : 340 + i % 20]) for i in range(n_frames)]

    return make


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Return a function that writes RGB frames to a video with PyAV."""

    def write(
        path: Path,
        images: Sequence[np.ndarray],
        *,
        fps: int = 25,
        codec: str = "libx264",
        pts_ms: Sequence[int] | None = None,
        time_base_fps: int = 1000,
        options: dict[str, str] | None = None,
        codec_options: dict[str, str] | None = None,
        pix_fmt: str = "yuv420p",
        source_fmt: str = "rgb24",
        size: tuple[int, int] | None = None,
        tune: Callable[[av.VideoStream], object] = lambda stream: None,
        format: str | None = None,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", format=format, options=options or {}) as container:
            stream = container.add_stream(codec, rate=fps, options=codec_options or {})
            stream.height, stream.width = size or images[0].shape[:2]
            stream.pix_fmt = pix_fmt
            tune(stream)
            if pts_ms is not None:
                stream.codec_context.time_base = Fraction(1, time_base_fps)
            for i, image in enumerate(images):
                frame = av.VideoFrame.from_ndarray(image, format=source_fmt)
                frame.pts = i if pts_ms is None else round(pts_ms[i] * time_base_fps / 1000)
                frame.time_base = Fraction(1, fps if pts_ms is None else time_base_fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def write_jpegs(write_video) -> Callable[[Path, Sequence[np.ndarray]], Path]:
    """Return a function that writes a Matroska file of JPEG pictures, each of any size, at 25 frames/s."""

    def write(path: Path, images: Sequence[np.ndarray]) -> Path:
        like = write_video(path.with_suffix(".like"), images[:1], codec="mjpeg", pix_fmt="yuvj420p", format="matroska")
        with av.open(str(like)) as template, av.open(str(path), "w") as container:
            stream = container.add_stream_from_template(template.streams.video[0])
            for number, image in enumerate(images):
                packet = av.Packet(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
                container.mux(packet)
        like.unlink()
        return path

    return write


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared test data, from $TCLR_TEST_DATA or beside the project; skips without it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TCLR_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("needs the shared test data: set TCLR_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def write_features() -> Callable[..., Path]:
    """Return a function that writes one clip of a features folder; columns that are not given are null."""
    from tclr.pipeline.export import with_pandas_types
    from tclr.pipeline.system import write_table
    from tclr.schemas.features import FORMAT, FORMAT_VERSION, features_schema

    def write(folder: Path, subject: str, clip: str, columns: dict, thresholds: dict[str, float], **metadata) -> Path:
        labelled = [name.removesuffix("_true") for name in columns if name.endswith("_true")]
        schema = with_pandas_types(features_schema(list(thresholds), labelled, 2, blendshapes=False))
        n_frames = len(columns["frame"])
        columns = {"dataset": ["folder"] * n_frames, "clip": [clip] * n_frames} | columns
        arrays = [pa.array(columns.get(field.name, [None] * n_frames), from_pandas=True) for field in schema]
        table = pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)
        known = {"format": FORMAT, "format_version": FORMAT_VERSION, "au_thresholds": thresholds}
        path = folder / f"subject={subject}" / f"{clip}.parquet"
        write_table(path, table, known | metadata)
        return path

    return write


@pytest.fixture
def watch(monkeypatch):
    """Return a function that calls something with a terminal, or a pipe, as standard error, and returns what came."""

    def run(work, *, columns=100):
        if columns:
            reader, writer = pty.openpty()
            ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        else:
            reader, writer = os.pipe()
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("COLUMNS", raising=False)
        with open(writer, "w") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            work()
        os.set_blocking(reader, False)
        data = b""
        while chunk := _read(reader):
            data += chunk
        os.close(reader)
        return data.decode()

    return run


def _read(reader):
    try:
        return os.read(reader, 65536)
    except OSError:  # a terminal that nobody holds any more, or nothing left
        return b""


@pytest.fixture(scope="session")
def plain():
    """Return a function that takes the control characters out of what a terminal got."""
    return lambda text: re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """Headless Chromium, driven by Debian's chromedriver; skips without either."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install '.[dev]'")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def submitted(monkeypatch) -> list[tuple[str, int]]:
    """What is handed to Dask: each task's function, and how many tasks handed in before are not through."""
    from distributed import Client

    submit, handed_in, told = Client.submit, [], []

    def spy(self, work, *args, **options):
        told.append((getattr(work, "__name__", "assemble_task"), sum(not future.done() for future in handed_in)))
        handed_in.append(submit(self, work, *args, **options))
        return handed_in[-1]

    monkeypatch.setattr(Client, "submit", spy)
    return told
