"""Measures the tasks of preprocessing on a worker, for clips like those of a dataset, and the overheads."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from distributed import Client, as_completed

from tclr.pipeline.preprocessing import (
    ClipTask,
    Outcome,
    assemble_task,
    extract_task,
    part_path,
    plan_subject,
    preprocess,
    scan_store,
    subject_path,
)
from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.store import ClipInfo, root_attrs, write_manifest
from tclr.pipeline.system import connect, lock_folder
from tclr.pipeline.tools.bench.groups import make_source
from tclr.pipeline.tools.bench.loader import write_jpegs
from tclr.pipeline.tools.bench.rows import measure_s, one_core
from tclr.pipeline.tools.bench.scaling import (
    DATASET_SHAPES,
    WORKERS,
    DatasetShape,
    Overheads,
    Prediction,
    TaskCosts,
    predict,
    simulate,
)
from tclr.pipeline.video import VideoWriter, probe, read_frames
from tclr.schemas.config import AlignConfig, PreprocessConfig

SAMPLE_LENGTHS = (30, 90, 150)
"""Frames of the measured clips: each takes seconds, and they differ enough to fit a line."""
SAMPLE_SUBJECTS = 4
N_TASKS, N_CLIPS = 1000, (10, 200)
"""Number of empty tasks and numbers of tiny clips for measuring overheads."""
FPS = 25.0


@dataclass(frozen=True)
class RealRun:
    """A real run and the prediction of its time."""

    dataset: str
    workers: int
    seconds: float
    predicted_s: float

    def cells(self) -> list[str]:
        """Return the cells of the row, in the order of ``REAL_RUN_HEADERS``."""
        error = f"{self.predicted_s / self.seconds - 1:+.0%}"
        return [self.dataset, str(self.workers), f"{self.seconds:.1f}", f"{self.predicted_s:.1f}", error]


REAL_RUN_HEADERS = ("clips like", "workers", "real run, s", "predicted, s", "error")


def _timed(work: Callable[[], Outcome]) -> float:
    """Return the seconds of a task; called on the worker."""
    started = time.perf_counter()
    outcome = work()
    if outcome.reason:
        raise RuntimeError(outcome.reason)
    return time.perf_counter() - started


def _empty(task: ClipTask) -> Outcome:
    return Outcome(names=(task.clip.name,), n_frames=1)


def _resized(clip: Clip, shape: DatasetShape, n_frames: int) -> Iterator[np.ndarray]:
    """Yield frames of a clip, forwards and backwards, padded to a dataset's size by repeating the edge."""
    frames = [frame.image for frame in read_frames(probe(clip, FPS)) if frame.image is not None]
    side = min(shape.width, shape.height)
    above, left = (shape.height - side) // 2, (shape.width - side) // 2
    below, right = shape.height - side - above, shape.width - side - left
    there_and_back = [*frames, *frames[-2:0:-1]]
    for number in range(n_frames):
        frame = cv2.resize(there_and_back[number % len(there_and_back)], (side, side))
        yield np.asarray(cv2.copyMakeBorder(frame, above, below, left, right, cv2.BORDER_REPLICATE))


def write_sample(clips: Sequence[Clip], shape: DatasetShape, folder: Path) -> None:
    """Write clips like those of a dataset, made from the clips of another source."""
    for subject in range(SAMPLE_SUBJECTS):
        for n_frames in SAMPLE_LENGTHS:
            frames = _resized(clips[subject % len(clips)], shape, n_frames)
            place = folder / f"S{subject}" / f"{n_frames:03d}"
            if shape.kind == "jpeg":
                write_jpegs(frames, place)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with VideoWriter(place.with_suffix(".mp4"), shape.width, shape.height, crf=20) as writer:
                for number, frame in enumerate(frames):
                    writer.write(frame, number / FPS)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure_costs(client: Client, source: Path, codec: str, scratch: Path, runs: int) -> TaskCosts:
    """Measure the tasks on one worker with the clips of ``write_sample``; return medians over the runs."""
    config, made_by = PreprocessConfig(align=AlignConfig(codec=codec)), version("tclr-face")
    clips = find_clips(source)
    own = [clip for clip in clips if clip.subject == clips[0].subject]
    seconds: dict[str, list[float]] = {clip.clip: [] for clip in own}
    joined_s = []
    for run in range(runs + 1):
        store = scratch / str(run)
        for clip in own:
            task = partial(extract_task, ClipTask(clip, store, config))
            seconds[clip.clip].append(client.submit(_timed, task, pure=False).result())
        path = subject_path(store, own[0].subject)
        sources = {clip.clip: (part_path(store, clip),) for clip in own}
        attrs = root_attrs(own[0].dataset, own[0].subject, config.detect, config.align, made_by)
        with lock_folder(store) as holder:
            joining = partial(assemble_task, path, sources, attrs, (), store, holder)
            joined_s.append(client.submit(_timed, joining, pure=False).result())
    medians = [float(np.median(seconds[clip.clip][1:])) for clip in own]  # the first run warms up
    frame_s, clip_s = np.polyfit(SAMPLE_LENGTHS, medians, 1).tolist()
    n_frames = sum(SAMPLE_LENGTHS)
    return TaskCosts(
        frame_s,
        max(clip_s, 0.0),
        float(np.median(joined_s[1:])) / n_frames,
        _size(source) / n_frames / SAMPLE_SUBJECTS,
        path.stat().st_size / n_frames,
    )


def _start_and_stop(workers: int) -> None:
    with connect(workers, None):
        pass


def measure_overheads(source: Path, scratch: Path, runs: int) -> Overheads:
    """Measure the overheads with the clips of ``write_sample``; return medians over the runs."""
    one_s, two_s = (float(np.median([measure_s(partial(_start_and_stop, n)) for _ in range(runs)])) for n in (1, 2))
    clip = min(find_clips(source), key=lambda clip: clip.name)
    config = PreprocessConfig()
    firsts, task_s = [], []
    for run in range(runs):
        with connect(1, None) as client:
            cold_s, warm_s = (
                client.submit(
                    _timed, partial(extract_task, ClipTask(clip, scratch / f"{run}-{i}", config)), pure=False
                ).result()
                for i in range(2)
            )
            firsts.append(cold_s - warm_s)
            task = ClipTask(clip, scratch, config)
            task_s.append(measure_s(partial(_hand_in, client, task)) / N_TASKS)
    return Overheads(
        one_s,
        max(two_s - one_s, 0.0),
        max(float(np.median(firsts)), 0.0),
        float(np.median(task_s)),
        _measure_plan_s(scratch),
    )


def _hand_in(client: Client, task: ClipTask) -> None:
    queue = as_completed([client.submit(_empty, task, pure=False) for _ in range(N_TASKS)])
    for future in queue:
        future.result()
        future.release()


def _measure_plan_s(scratch: Path) -> float:
    """Return the seconds per clip of the command itself: finding it, planning it, and writing the manifest."""
    blank, config = np.zeros((64, 64, 3), np.uint8), PreprocessConfig(align=AlignConfig(size=32))
    seconds = []
    for n_clips in N_CLIPS:
        source, store = scratch / f"{n_clips}-clips", scratch / f"{n_clips}-clips-store"
        for number in range(n_clips):
            write_jpegs([blank, blank], source / f"S{number % 10}" / f"{number}")
        preprocess(source, store, config, workers=1)
        infos = [info for its in scan_store(store)[0].values() for info in its]

        def work(source: Path = source, store: Path = store, infos: Sequence[ClipInfo] = infos) -> None:
            clips, subjects = find_clips(source), defaultdict(list)
            for clip in clips:
                subjects[clip.subject].append(clip)
            for subject, its in subjects.items():
                plan_subject(scratch / "empty", subject, its, (), config)
            write_manifest(store, infos)

        seconds.append(min(measure_s(work) for _ in range(3)))
    return max(0.0, (seconds[1] - seconds[0]) / (N_CLIPS[1] - N_CLIPS[0]))


def measure_real_runs(
    shape: DatasetShape, source: Path, costs: TaskCosts, overheads: Overheads, scratch: Path, workers: Sequence[int]
) -> list[RealRun]:
    """Preprocess a sample with real workers, and compare with the simulation."""
    config = PreprocessConfig(align=AlignConfig(codec=shape.codec))
    checks = []
    for n in workers:
        work = partial(preprocess, source, scratch / f"{n}-workers", config, workers=n)
        predicted_s, _ = simulate([SAMPLE_LENGTHS] * SAMPLE_SUBJECTS, costs, overheads, n)
        with one_core() if n == 1 else nullcontext():  # one worker per core, as on a fully used node
            checks.append(RealRun(shape.name, n, measure_s(work), predicted_s))
    return checks


@dataclass(frozen=True)
class Scaling:
    """Measured costs, real runs with their predictions, and predictions for the datasets."""

    overheads: Overheads
    costs: dict[str, TaskCosts]
    checks: list[RealRun]
    predictions: list[Prediction]


def bench_scaling(
    source: Path | None, scratch: Path, runs: int, tell: Callable[[str], None] = lambda what: None
) -> Scaling:
    """Measure task costs, check them by real runs, and predict the time that whole datasets take.

    The measured samples are made from the clips of a source folder, or from two demo clips. Costs are measured ``runs``
    times, real runs are made once. ``tell`` is called with each step before it begins.

    Examples
    --------
    >>> scaling = bench_scaling(Path("clips"), Path("scratch"), runs=3)  # doctest: +SKIP
    >>> [(row.dataset, row.workers, row.core_hours) for row in scaling.predictions]  # doctest: +SKIP
    """
    source = source or make_source(scratch, tell)
    clips = find_clips(source)
    samples = {shape.name: scratch / shape.name for shape in DATASET_SHAPES}
    for shape in DATASET_SHAPES:
        tell(f"Writing clips like {shape.name}'s")
        write_sample(clips, shape, samples[shape.name])
    tell("Measuring overheads")
    overheads = measure_overheads(samples[DATASET_SHAPES[-1].name], scratch / "overheads", runs)
    costs: dict[str, TaskCosts] = {}
    checks: list[RealRun] = []
    for shape in DATASET_SHAPES:
        sample, folder = samples[shape.name], scratch / f"{shape.name}-stores"
        tell(f"Measuring tasks of {shape.name}")
        with connect(1, None) as client:
            costs[shape.name] = measure_costs(client, sample, shape.codec, folder, runs)
        tell(f"Real runs on clips like {shape.name}'s")
        checks += measure_real_runs(shape, sample, costs[shape.name], overheads, folder, (1, 2))
    tell("Simulating")
    predictions = [predict(shape, costs[shape.name], overheads, n) for shape in DATASET_SHAPES for n in WORKERS]
    return Scaling(overheads, costs, checks, predictions)
