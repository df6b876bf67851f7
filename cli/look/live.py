"""``tclr live``: features of a camera, a stream or a file as it plays."""

from __future__ import annotations

import signal
import statistics
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tclr.cli.options import FILE, PATH_OR_NAME, form_option, given_options
from tclr.cli.output import Command, fail, say
from tclr.schemas.config import EmbedConfig, OverlayConfig
from tclr.schemas.errors import OutputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from tclr import Analyser
    from tclr.pipeline.features import GrowingTable
    from tclr.pipeline.video import LiveFrame, LiveReader, LiveSource, VideoWriter
    from tclr.pipeline.views.overlay import Window
    from tclr.pipeline.views.progress import Display

CRF = OverlayConfig().crf
SAY_S = 1.0
"""Time between two lines of progress."""
LIVE = ("columns", "hidden", "blendshapes", "landmarks")
"""The settings of ``tclr embed`` that apply to single frames."""
OTHERS = [name for name in EmbedConfig.model_fields if name not in LIVE]


@click.command("live", cls=Command)
@click.argument("source", default="0")
@click.option("-o", "--out", type=FILE, help="The CSV file to write, one row per analysed frame.")
@form_option
@click.option("--show/--no-show", default=True, show_default=True, help="Show the overlay in a window.")
@click.option("--overlay", type=FILE, help="Keep the overlay as an MP4 file. Nothing else keeps pictures.")
@click.option("--frames", type=click.IntRange(1), help="End after this number of analysed frames.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after this time of the source.")
@click.option("--fast", is_flag=True, help="Analyse every frame of a file or pipe, as fast as possible.")
@click.option(
    "--au-model",
    type=PATH_OR_NAME,
    default="face",
    show_default=True,
    help="AUs: face, shape (fastest), box, blendshapes, or a head of 'tclr fit-au'.",
)
@click.option("--rotate", type=click.Choice(["0", "90", "180", "270"]), default="0", help="Turn pictures clockwise.")
@given_options(EmbedConfig, without=OTHERS)
def command(
    source: str,
    out: Path | None,
    form: str,
    show: bool,
    overlay: Path | None,
    frames: int | None,
    seconds: float | None,
    fast: bool,
    au_model: str,
    rotate: str,
    common: dict[str, Any],
) -> dict[str, Any]:
    """Show and write the features of SOURCE as its frames come.

    SOURCE is a camera (0, the default, or /dev/video0), an address (rtsp://..., http://...), a file, which is played at
    its own pace, or - for standard input. A frame that comes while another one is analysed is dropped, so that nothing
    lags behind. Ctrl-C, Q in the window, --frames or --seconds end it. The CSV file is written as rows come. No
    pictures are kept without --overlay.

    \b
    Example:
      tclr live -o rows.csv
      tclr live rtsp://camera.lab/stream1 -o rows.csv --no-show --seconds 600
      tclr live talk.mp4 -o rows.csv --fast --no-show --as openface
    """
    if not (out or overlay or show):
        raise click.UsageError("Nothing would be kept or shown. Give -o rows.csv, --overlay out.mp4, or --show.")
    if form != "tclr" and "columns" in common:
        raise click.UsageError("--columns chooses among tclr's columns. Leave it out with --as openface or pyfeat.")
    for path in (out, overlay):
        if path is not None and path.exists():
            raise OutputError(f"Expected a new file, but {path} exists. Give another name, or remove it first.")
    from tclr.pipeline.video import find_source

    found = find_source(source)
    if fast and not found.waits:
        raise click.UsageError("--fast is for files and pipes: a camera or a stream does not wait.")
    outputs = _Outputs(found, out, form, overlay, show)
    return _follow(found, fast, outputs, frames, seconds, {"au_model": au_model, "rotate": rotate} | common)


def _follow(
    source: LiveSource,
    fast: bool,
    outputs: _Outputs,
    n_wanted: int | None,
    until_s: float | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Analyse the frames of a source until something ends it; say and return what was done."""
    from tclr.cli.progress import show_progress
    from tclr.pipeline.video import LiveReader

    say(f"{source.title}: {outputs.describe()}. Ctrl-C ends it.")
    times = _Times()
    with ExitStack() as stack:
        display = stack.enter_context(show_progress())
        display.stage("Loading the models")
        stack.enter_context(outputs)
        from tclr import Analyser

        analyser = stack.enter_context(Analyser(**settings))
        reader = stack.enter_context(LiveReader(source, every=fast))
        stack.enter_context(_stopping(reader))
        display.stage(f"Waiting for {source.title}")
        ended = _analyse(reader, analyser, outputs, times, n_wanted, until_s, display)
    if reader.error is not None and times.n_frames == 0:
        raise reader.error
    if reader.error is not None:
        fail(str(reader.error), source.title, what="broke off")
    say(
        "Live: no frame came"
        if times.n_frames == 0
        else f"Live: {times.n_frames} frames analysed, {reader.n_dropped} dropped, {times.frames_per_s:.1f} frames/s, "
        f"median latency {times.latency_ms:.0f} ms"
    )
    if times.n_frames:
        say(outputs.list_files())
    return {
        "source": source.title,
        **outputs.files,
        "n_frames": times.n_frames,
        "n_dropped": reader.n_dropped,
        "frames_per_s": times.frames_per_s,
        "latency_ms": times.latency_ms,
        "ended": ended,
    }


def _analyse(
    reader: LiveReader,
    analyser: Analyser,
    outputs: _Outputs,
    times: _Times,
    n_wanted: int | None,
    until_s: float | None,
    display: Display,
) -> str:
    """Return what ended it: ``source``, ``stopped`` (by a signal), ``window`` or ``limit``."""
    said_s = 0.0
    for frame in reader:
        if until_s is not None and frame.timestamp_s >= until_s:
            return "limit"
        rows = analyser.add(frame.image, frame.timestamp_s)
        goes_on = outputs.take(frame, rows, analyser)
        times.add(frame)
        if not goes_on:
            return "window"
        if times.n_frames == n_wanted:
            return "limit"
        if times.last_s - said_s >= SAY_S:
            said_s = times.last_s
            display.stage(f"{times.n_frames} frames, {reader.n_dropped} dropped, {times.frames_per_s:.1f} frames/s")
    return "stopped" if reader.is_stopped else "source"


class _Times:
    """How many frames were analysed, how fast, and how late after they came."""

    def __init__(self) -> None:
        self._latencies_s = array("d")
        self._first_s = self.last_s = 0.0

    @property
    def n_frames(self) -> int:
        return len(self._latencies_s)

    def add(self, frame: LiveFrame) -> None:
        """Count a frame whose row is done, and that is shown."""
        self.last_s = time.monotonic()
        self._first_s = self._first_s or frame.came_s
        self._latencies_s.append(self.last_s - frame.came_s)

    @property
    def frames_per_s(self) -> float:
        """Frames analysed per second, from the first to the last; 0 without any."""
        return self.n_frames / (self.last_s - self._first_s) if self.n_frames else 0.0

    @property
    def latency_ms(self) -> float:
        """Median time from when a frame came to when its row was known and its picture shown; NaN without any."""
        return 1000 * statistics.median(self._latencies_s) if self.n_frames else float("nan")


class _Outputs:
    """Where rows and pictures go; use it in a ``with`` statement."""

    def __init__(self, source: LiveSource, out: Path | None, form: str, overlay: Path | None, show: bool) -> None:
        self._source, self._out, self._form, self._overlay, self._show = source, out, form, overlay, show
        self._stack = ExitStack()
        self._table: GrowingTable | None = None
        self._film: VideoWriter | None = None
        self._window: Window | None = None

    @property
    def files(self) -> dict[str, Any]:
        """The files that are written, and the form of the table."""
        return {"out": self._out, "as": self._form, "overlay": self._overlay}

    def describe(self) -> str:
        """Return what is kept, in words."""
        rows = f"rows go to {self._out.resolve()}" if self._out else "no rows are kept (-o rows.csv keeps them)"
        return f"{rows}, {f'pictures to {self._overlay.resolve()}' if self._overlay else 'no pictures are kept'}"

    def list_files(self) -> str:
        """Return a line for each file."""
        kinds = (("Rows", self._out), ("Overlay", self._overlay))
        return "\n".join(f"{kind}: {path}" for kind, path in kinds if path is not None)

    def __enter__(self) -> _Outputs:
        from tclr.pipeline.features import GrowingTable
        from tclr.pipeline.views.overlay import Window

        with ExitStack() as stack:
            if self._show:
                self._window = stack.enter_context(Window(f"tclr live: {self._source.title}"))
            if self._out is not None:
                self._table = stack.enter_context(GrowingTable(self._out, self._form, self._source.title))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def take(self, frame: LiveFrame, rows: pd.DataFrame | None, analyser: Analyser) -> bool:
        """Write and show what is known of a frame; return False if its window was closed."""
        if self._table is not None and rows is not None:
            self._table.add(rows, [frame.index], [frame.clock_s])
        if self._overlay is None and self._window is None:
            return True
        picture = self._draw(frame, analyser)
        if self._overlay is not None:
            self._film = self._film or self._open_film(self._overlay, picture)
            self._film.write(picture, frame.timestamp_s)
        return self._window is None or self._window.show(picture)

    def _draw(self, frame: LiveFrame, analyser: Analyser) -> np.ndarray:
        from tclr.pipeline.views.overlay import draw_live, view_row

        last = analyser.last
        row = None if last is None or last.row is None else last.row.to_dict()
        seen = ("", None, None) if last is None else (last.status, last.box, last.landmarks)
        return draw_live(frame.image, view_row(*seen, row, analyser.thresholds))

    def _open_film(self, path: Path, picture: np.ndarray) -> VideoWriter:
        from tclr.pipeline.system import replacing
        from tclr.pipeline.video import VideoWriter

        temporary = self._stack.enter_context(replacing(path))
        height, width = picture.shape[:2]
        return self._stack.enter_context(VideoWriter(temporary, width, height, crf=CRF))


@contextmanager
def _stopping(reader: LiveReader) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the loop after the frame at hand; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: Any) -> None:
        reader.stop()
        for kind, handler in before.items():
            signal.signal(kind, handler)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
