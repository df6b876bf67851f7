"""What each stage costs beside the work that bounds it, as ratios within one run.

Each row is measured alternately with its bound on the same clip, so that a busy machine slows both.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tclr.pipeline.extract import extract_clip
from tclr.pipeline.faces import open_detector
from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.store import Store
from tclr.pipeline.video import probe, read_frames
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.store import CHUNK_FRAMES


@dataclass(frozen=True)
class BenchRow:
    """One line of the table: a ratio with its spread over runs.

    ``ratio`` holds one value a run; ``bound`` says what 1.0 would be. ``frames_per_s`` is what was measured, where that
    says something.
    """

    name: str
    bound: str
    ratio: tuple[float, ...]
    frames_per_s: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Median over the runs."""
        return float(np.median(self.ratio))


def measure_s(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_cpu_s(work: Callable[[], object]) -> float:
    """Return the seconds that the process's threads spend on some work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _bare_landmarks(clip: Clip, detect: DetectConfig) -> None:
    """Decode and find landmarks, and nothing else."""
    with closing(open_detector(detect)) as detector:
        detector.n_faces = 1
        for frame in read_frames(probe(clip, detect.image_fps)):
            if frame.image is not None:
                detector.detect([frame.image], [frame.timestamp_s])


def bench_preprocess(clip: Clip, folder: Path, runs: int) -> BenchRow:
    """Measure extraction of one clip against decoding and landmarks alone; higher is better, at most 1."""
    ratios = []
    part = folder / "subjects" / f"{clip.subject}.h5"
    for _ in range(runs):
        bare_s = measure_s(lambda: _bare_landmarks(clip, DetectConfig()))
        full_s = measure_s(lambda: extract_clip(clip, part, DetectConfig(), AlignConfig(), "bench"))
        ratios.append(bare_s / full_s)
    return BenchRow("preprocess, one worker", "decode + landmarks", tuple(ratios))


def _read_blocks(store: Store, starts: list[int], length: int) -> None:
    for start in starts:
        store.read_frames(store.clips[0], start, start + length)


def bench_windows(folder: Path, runs: int, n_windows: int = 40, length: int = 12) -> BenchRow:
    """Measure random 12-frame windows of a store against reading the same crops one chunk after another."""
    ratios = []
    with Store(folder) as store:
        info = store.clips[0]
        span = max(1, info.n_frames - length)
        for run in range(runs):
            starts = np.random.default_rng(run).integers(0, span, n_windows).tolist()
            windows_s = measure_s(partial(_read_blocks, store, starts, length))
            blocks = list(range(0, info.n_frames, CHUNK_FRAMES))
            all_s = measure_s(partial(_read_blocks, store, blocks, CHUNK_FRAMES))
            ratios.append((n_windows * length / windows_s) / (info.n_frames / all_s))
    return BenchRow("random 12-frame windows", "sequential chunks", tuple(ratios))


def run_benchmark(source: Path, runs: int, tell: Callable[[str], None] = lambda what: None) -> list[BenchRow]:
    """Measure all rows on the first clip of a source folder; ``tell`` is called with what is measured next.

    Raises
    ------
    InputError
        If there is no clip in it.
    """
    clip = find_clips(source)[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tell("Measuring preprocess")
        extraction = bench_preprocess(clip, folder, runs)
        tell("Measuring random windows")
        return [extraction, bench_windows(folder, runs)]
