"""How long preprocessing takes on many workers: measured task times, walked through a simulated scheduler.

Workers take clips in their order, as ``pipeline.graph`` hands them in; a subject is assembled, before other work, as
soon as its clips are there. Handing in a task costs the scheduler time, one after another. What is not simulated: disks
and networks that are too slow for all workers at once (the table says what they must bear), and machines that differ.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WORKERS = (1, 16, 256)


@dataclass(frozen=True)
class DatasetShape:
    """What preprocessing a dataset depends on.

    The ``frames`` of a clip are drawn evenly from a range. ``kind`` is ``jpeg`` (image sequences) or ``video``.
    ``codec`` is that of the store.
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
"""BP4D's 146,847 coded frames; DISFA's left camera; all of VoxCeleb2, 2,442 hours at 25 frames/s. How lengths are
spread is our guess, their sums are the datasets'."""


@dataclass(frozen=True)
class TaskCosts:
    """What tasks take of one worker, in seconds, and of the disk, in bytes.

    ``clip_s`` is what a clip takes beside its frames, ``joined_frame_s`` the assembly of a subject, a frame.
    """

    frame_s: float
    clip_s: float
    joined_frame_s: float
    read_bytes: float
    stored_bytes: float

    def cells(self, name: str) -> list[str]:
        """Return the row of a dataset as the table shows it; see ``COST_HEADERS``."""
        seconds = f"{1 / self.frame_s:,.0f}", f"{self.clip_s:.2f}", f"{1e3 * self.joined_frame_s:.2f}"
        return [name, *seconds, f"{self.read_bytes / 1e3:,.1f}", f"{self.stored_bytes / 1e3:,.1f}"]


COST_HEADERS = (
    "clips as of",
    "frames/s",
    "a clip, s",
    "assembly, ms a frame",
    "read, kB a frame",
    "stored, kB a frame",
)


@dataclass(frozen=True)
class Overheads:
    """What is not the tasks' own, in seconds.

    Until the first worker is there and for each further one on the same machine (``start_s``, ``worker_s``); of a
    worker's first task, which loads modules and models (``warm_s``); of the scheduler for a task (``task_s``); of
    looking for a clip, planning it, and its row of the manifest (``clip_s``).
    """

    start_s: float
    worker_s: float
    warm_s: float
    task_s: float
    clip_s: float


@dataclass(frozen=True)
class Prediction:
    """What a run is expected to take: ``busy`` is the workers' mean share of time in tasks."""

    dataset: str
    workers: int
    seconds: float
    busy: float
    n_frames: int
    stored_gb: float
    disk_mb_s: float

    @property
    def core_hours(self) -> float:
        """What is to be paid for: all workers, from beginning to end."""
        return self.workers * self.seconds / 3600

    def cells(self, price: float) -> list[str]:
        """Return the row as the table shows it, at a price of a core hour; see ``PREDICTION_HEADERS``."""
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

    ``subjects`` are the numbers of frames of each clip, by subject. ``local`` workers are started on this machine, one
    after another; others run already.
    """
    n_clips = sum(len(clips) for clips in subjects)
    begin = overheads.start_s + overheads.worker_s * (workers - 1) * local + overheads.clip_s * n_clips
    free = [(begin, True)] * workers  # when each has nothing to do, and whether it is its first task
    handed_s = begin
    backlog = [(number, n) for number, clips in enumerate(subjects) for n in clips][::-1]
    missing = [len(clips) for clips in subjects]
    ends = [0.0] * len(subjects)
    joins: list[tuple[float, float]] = []  # when a subject's clips are there, and how long it takes
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
    """Return what a dataset takes on workers that run already."""
    subjects = shape.draw()
    n_frames = sum(sum(clips) for clips in subjects)
    seconds, busy = simulate(subjects, costs, overheads, workers, local=False)
    stored = n_frames * costs.stored_bytes
    moved = n_frames * costs.read_bytes + 3 * stored  # a part is written, read, and written into the subject's file
    return Prediction(shape.name, workers, seconds, busy, n_frames, stored / 1e9, moved / seconds / 1e6)
