"""Measures each stage's peak memory in its own process, and its growth with longer clips and more subjects."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.tools.bench.rows import BenchRow
from tclr.pipeline.tools.synth import write_demo
from tclr.schemas.config import AlignConfig, EmbedConfig, FitAuConfig, PreprocessConfig, PretrainConfig

MOST_GROWTH = 1.1
SHORT_FRAMES, LONG_FRAMES = 60, 480
FEW_SUBJECTS, SOME_SUBJECTS, MANY_SUBJECTS = 2, 12, 41
"""The last is BP4D's number. After a dozen clips, the C library and mediapipe hold most of the memory that they reuse;
growth is therefore measured from there."""
SMALL_CROPS = AlignConfig(size=96, codec="lz4")


def _peak_mb(work: Callable[..., None], arguments: tuple[Any, ...]) -> float:
    work(*arguments)
    try:  # getrusage's figure includes the peak of the parent process
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_peak_mb(work: Callable[..., None], *arguments: Any) -> float:
    """Return the peak memory in MB of a new process that does some work, including imports."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_mb, work, arguments).result()


def extract_clips(clips: Sequence[Clip], store: Path, align: AlignConfig) -> None:
    """Extract clips, each of another subject, in this process."""
    from tclr.pipeline.preprocessing import extract_clip, survey_clip

    for clip in clips:
        part = store / "subjects" / f"{clip.subject}.h5"
        extract_clip(survey_clip(clip, PreprocessConfig(align=align)), part)


def extract_all(source: Path, store: Path) -> None:
    """Extract each clip of a source, one per subject."""
    extract_clips(find_clips(source), store, SMALL_CROPS)


def pretrain_a_little(store: Path, run: Path) -> None:
    """Train a few steps on small pictures."""
    from tclr.pipeline.pretraining import pretrain

    config = PretrainConfig(
        epochs=1, image_size=64, batch_size=4, embedding_dim=32, val_share=0.5, geometry_weight=0, ranking_weight=1
    )
    pretrain(store, run, config)


def fit(store: Path, out: Path) -> None:
    """Fit a linear head on an untrained encoder."""
    from tclr.pipeline.au import fit_au
    from tclr.pipeline.encoder import load_encoder

    fit_au(store, load_encoder("random", image_size=64, embedding_dim=32), out, FitAuConfig(batch_size=32))


def export(store: Path, features: Path) -> None:
    """Embed a store with an untrained encoder."""
    from tclr.pipeline.encoder import load_encoder
    from tclr.pipeline.export import embed

    encoder = load_encoder("random", image_size=64, embedding_dim=32)
    embed(store, features, encoder, EmbedConfig(batch_size=32))


STAGES: dict[str, Callable[..., None]] = {
    "preprocess": extract_all,
    "pretrain": pretrain_a_little,
    "fit-au": fit,
    "embed": export,
}


def bench_memory(source: Path | None, scratch: Path, runs: int) -> list[BenchRow]:
    """Measure each stage once on demo clips: short, long, and of some and many subjects."""
    shapes = {
        "plain": (FEW_SUBJECTS, SHORT_FRAMES),
        "long": (FEW_SUBJECTS, LONG_FRAMES),
        "some": (SOME_SUBJECTS, SHORT_FRAMES),
        "many": (MANY_SUBJECTS, SHORT_FRAMES),
    }
    peaks: dict[str, dict[str, float]] = {}
    for shape, (subjects, frames) in shapes.items():
        folder = scratch / shape
        write_demo(folder / "source", subjects=subjects, tasks=1, frames=frames, size_px=240)
        peaks[shape] = {}
        for stage, work in STAGES.items():
            first = stage == "preprocess"
            folders = folder / ("source" if first else "store"), folder / ("store" if first else stage)
            peaks[shape][stage] = measure_peak_mb(work, *folders)
    longer, more = f"... clips {LONG_FRAMES // SHORT_FRAMES} times as long", f"... {MANY_SUBJECTS} subjects"
    rows = []
    for stage in STAGES:
        plain, long, some, many = (peaks[shape][stage] for shape in shapes)
        rows += [
            BenchRow(f"most memory, {stage}", "", (plain,), "MB"),
            BenchRow(longer, "short clips", (long / plain,), at_most=MOST_GROWTH),
            BenchRow(more, f"{SOME_SUBJECTS} subjects", (many / some,), at_most=MOST_GROWTH),
        ]
    return rows
