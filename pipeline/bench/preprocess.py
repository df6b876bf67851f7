"""What preprocessing costs beside decoding and landmarks alone, and how it scales with workers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from distributed import Client

from tclr.pipeline.bench.rows import BenchRow, measure_s
from tclr.pipeline.cluster import connect
from tclr.pipeline.faces import open_detector
from tclr.pipeline.preprocess import PreprocessConfig, preprocess
from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.video import probe, read_frames
from tclr.schemas.config import AlignConfig, DetectConfig

OTHER_SIZES = (192, 208)
"""Sides in pixels that crops are cut again with, in turn."""


def decode(clips: Sequence[Clip], detect: DetectConfig) -> int:
    """Decode clips, and nothing else; return the number of frames."""
    return sum(1 for clip in clips for _ in read_frames(probe(clip, detect.image_fps)))


def decode_and_landmark(clips: Sequence[Clip], detect: DetectConfig) -> None:
    """Decode clips and find landmarks, and nothing else."""
    import cv2

    cv2.setNumThreads(1)  # as a worker does
    for clip in clips:
        with closing(open_detector(detect)) as detector:
            detector.n_faces = 1
            for frame in read_frames(probe(clip, detect.image_fps)):
                if frame.image is not None:
                    detector.detect([frame.image], [frame.timestamp_s])


def _run(source: Path, store: Path, client: Client, align: AlignConfig) -> None:
    result = preprocess(source, store, PreprocessConfig(align=align), scheduler=client.scheduler_info()["address"])
    if result.failures or result.n_skipped:
        raise RuntimeError(f"{len(result.failures)} clips failed, {result.n_skipped} were done before")


def bench_preprocess(source: Path, scratch: Path, runs: int) -> list[BenchRow]:
    """Measure preprocessing on Dask clusters that have started, of one worker and of two.

    Parameters
    ----------
    source : Path
        Folder with two clips or more of about the same length, so that two workers have the same to do.
    scratch : Path
        Folder for the stores.
    runs : int
        How often.
    """
    clips, detect = find_clips(source), DetectConfig()
    n_frames = decode(clips, detect)
    one, two, again, rates = [], [], [], []
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(workers, None)) for workers in (1, 2)]
        for number, client in enumerate(clients):  # models are loaded, modules imported
            _run(source, scratch / f"warm{number}", client, AlignConfig())
        for run in range(runs):
            bare_s = measure_s(partial(decode_and_landmark, clips, detect))
            one_s, two_s = (
                measure_s(partial(_run, source, scratch / f"{run}-{number}", client, AlignConfig()))
                for number, client in enumerate(clients)
            )
            decoded_s = measure_s(partial(decode, clips, detect))
            other = AlignConfig(size=OTHER_SIZES[run % 2])
            again_s = measure_s(partial(_run, source, scratch / "warm0", clients[0], other))
            one.append(bare_s / one_s)
            two.append(one_s / two_s)
            again.append(decoded_s / again_s)
            rates.append(n_frames / one_s)
    return [
        BenchRow("preprocess, one worker", "decode + landmarks", tuple(one), at_least=0.92, rates=tuple(rates)),
        BenchRow("preprocess, two workers", "one worker", tuple(two), at_least=1.9),
        BenchRow("crops cut again, one worker", "decode", tuple(again), at_least=0.7),
    ]
