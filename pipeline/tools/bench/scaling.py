"""Predicts how long preprocessing takes on many workers: measured task times in a simulated scheduler.

Workers take clips in the order of submission. A subject is assembled as soon as its clips are done, before other work.
The scheduler submits one task after another, which takes time. Not simulated are disks and networks that are too slow
for all workers at once (the table gives the required rate), and differing machines.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WORKERS = (1, 16, 256)


@dataclass(frozen=True)
class DatasetShape:
    """The properties of a dataset that its preprocessing time depends on.

    The ``frames`` of a clip are drawn uniformly from a range. ``kind`` is ``jpeg`` (image sequences) or ``video``;
    ``codec`` is the store's.
    """

    name: str
    subjects: int
    clips: int
    frames: tuple[int, int]
    width: int
    height: int
    kind: str
    codec: str

    def draw(self, seed: int = 0) -> list[list[int]]:
        """Return the number of frames of each clip, by subject."""
        lengths = np.random.default_rng(seed).integers(*self.frames, self.clips, endpoint=True)
        return [part.tolist() for part in np.array_split(lengths, self.subjects)]


DATASET_SHAPES = (
    DatasetShape("BP4D", 41, 328, (224, 672), 1040, 1392, "jpeg", "zstd"),
    DatasetShape("DISFA", 27, 27, (4845, 4845), 1024, 768, "video", "zstd"),
    DatasetShape("VoxCeleb2", 6112, 1_128_246, (100, 290), 224, 224, "video", "jpeg"),
)
"""BP4D's 146,847 coded frames; DISFA's left camera; all of VoxCeleb2, 2,442 hours at 25 frames/s. The totals are the
datasets', the distribution of lengths is a guess."""


@dataclass(frozen=True)
class TaskCosts:
    """What tasks cost: seconds of one worker, and bytes per frame read and stored.

    A clip takes ``clip_s`` plus ``frame_s`` per frame; assembling a subject takes ``joined_frame_s`` per frame.
    """

    frame_s: float
    clip_s: float
    joined_frame_s: float
    read_bytes: float
    stored_bytes: float

    def cells(self, name: str) -> list[str]:
        """Return the cells of a dataset's row, in the order of ``COST_HEADERS``."""
        seconds = f"{1 / self.frame_s:,.0f}", f"{self.clip_s:.2f}", f"{1e3 * self.joined_frame_s:.2f}"
        return [name, *seconds, f"{self.read_bytes / 1e3:,.1f}", f"{self.stored_bytes / 1e3:,.1f}"]


COST_HEADERS = ("clips like", "frames/s", "s/clip", "assembly, ms/frame", "read, kB/frame", "stored, kB/frame")


@dataclass(frozen=True)
class Overheads:
    """Seconds in addition to the tasks.

    ``start_s``: until the first worker runs. ``worker_s``: for each further worker on the same machine. ``warm_s``: in
    a worker's first task, for loading modules and models. ``task_s``: of the scheduler, per task. ``clip_s``: for
    finding a clip, planning it, and writing its row of the manifest.
    """

    start_s: float
    worker_s: float
    warm_s: float
    task_s: float
    clip_s: float


@dataclass(frozen=True)
class Prediction:
    """The predicted cost of a run; ``busy`` is the workers' mean share of time in tasks, 0..1."""

    dataset: str
    workers: int
    seconds: float
    busy: float
    n_frames: int
    stored_gb: float
    disk_mb_s: float

    @property
    def core_hours(self) -> float:
        """Hours to pay for: all workers, from beginning to end."""
        return self.workers * self.seconds / 3600

    def cells(self, price: float) -> list[str]:
        """Return the cells in the order of ``PREDICTION_HEADERS``, at a price per core hour."""
        hours, rest = divmod(round(self.seconds / 60), 60)
        time = f"{hours:,} h {rest:02d} min" if hours else f"{self.seconds / 60:.1f} min"
        cost = f"{self.core_hours * price:,.2f}"
        disk = f"{self.stored_gb:,.1f}", f"{self.disk_mb_s:,.1f}"
        return [self.dataset, str(self.workers), time, f"{self.busy:.2f}", f"{self.core_hours:,.1f}", cost, *disk]


PREDICTION_HEADERS = ("dataset", "workers", "time", "busy", "core hours", "cost", "store, GB", "disk, MB/s")


def simulate(
    subjects: Sequence[Sequence[int]], costs: TaskCosts, overheads: Overheads, workers: int, *, local: bool = True
) -> tuple[float, float]:
    """Return the seconds that a run takes, and the workers' mean share of that time in tasks.

    ``subjects`` has the number of frames of each clip of each subject. ``local`` workers are started on this machine,
    one after another; otherwise they already run.
    """
    n_clips = sum(len(clips) for clips in subjects)
    begin = overheads.start_s + overheads.worker_s * (workers - 1) * local + overheads.clip_s * n_clips
    free = [(begin, True)] * workers  # when each worker is idle, and whether its next task is its first
    handed_s = begin
    backlog = [(number, n) for number, clips in enumerate(subjects) for n in clips][::-1]
    missing = [len(clips) for clips in subjects]
    ends = [0.0] * len(subjects)
    joins: list[tuple[float, float]] = []  # when a subject's clips are done, and how long its assembly takes
    busy = end = 0.0
    while backlog or joins:
        now, fresh = heapq.heappop(free)
        join = bool(joins) and (joins[0][0] <= now or not backlog)
        if join:
            ready, work = heapq.heappop(joins)
        else:
            subject, n_frames = backlog.pop()
            ready, work = begin, costs.clip_s + costs.frame_s * n_frames
        handed_s = max(handed_s, ready) + overheads.task_s
        done = max(now, handed_s) + work + overheads.warm_s * fresh
        heapq.heappush(free, (done, False))
        busy, end = busy + work, max(end, done)
        if not join:
            missing[subject] -= 1
            ends[subject] = max(ends[subject], done)
            if not missing[subject]:
                heapq.heappush(joins, (ends[subject], costs.joined_frame_s * sum(subjects[subject])))
    return end, busy / (workers * end)


def predict(shape: DatasetShape, costs: TaskCosts, overheads: Overheads, workers: int) -> Prediction:
    """Return the predicted cost of a dataset on workers that already run."""
    subjects = shape.draw()
    n_frames = sum(sum(clips) for clips in subjects)
    seconds, busy = simulate(subjects, costs, overheads, workers, local=False)
    stored = n_frames * costs.stored_bytes
    moved = n_frames * costs.read_bytes + 3 * stored  # a part is written, read, and written into the subject's file
    return Prediction(shape.name, workers, seconds, busy, n_frames, stored / 1e9, moved / seconds / 1e6)
