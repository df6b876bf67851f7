"""Measures preprocessing against decoding and landmarks alone, and its scaling with workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain
from pathlib import Path

from distributed import Client

from tclr.pipeline.faces import open_detector
from tclr.pipeline.preprocessing import preprocess
from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.system import connect, limit_threads
from tclr.pipeline.tools.bench.rows import CAN_PIN, BenchRow, measure_s, one_core
from tclr.pipeline.video import probe, read_frames
from tclr.schemas.config import AlignConfig, DetectConfig, EmbedConfig, PreprocessConfig

OTHER_SIZES = (192, 208)
"""Sides in pixels for re-cropping, used in turn."""


def decode(clips: Sequence[Clip], detect: DetectConfig) -> int:
    """Decode clips and return the number of frames."""
    return sum(1 for clip in clips for _ in read_frames(probe(clip, detect.image_fps)))


def decode_and_landmark(clips: Sequence[Clip], detect: DetectConfig) -> None:
    """Decode clips and find landmarks."""
    import cv2

    cv2.setNumThreads(1)  # as a worker does
    for clip in clips:
        with closing(open_detector(detect)) as detector:
            detector.n_faces = 1
            for frame in read_frames(probe(clip, detect.image_fps)):
                if frame.image is not None:
                    for face in chain.from_iterable(detector.detect([frame.image], [frame.timestamp_s])):
                        _ = face.pose, face.blendshapes  # which the landmarker computes late


def _run(
    source: Path, store: Path, client: Client, align: AlignConfig, detector: str = DetectConfig().detector
) -> None:
    config = PreprocessConfig(DetectConfig(detector=detector), align)
    result = preprocess(source, store, config, scheduler=client.scheduler_info()["address"])
    if result.failures or result.n_skipped:
        raise RuntimeError(f"{len(result.failures)} clips failed, {result.n_skipped} were already done")


def _run_to_features(source: Path, scratch: Path, client: Client) -> None:
    """Take videos to Action Units in Parquet, with the codec of ``tclr.analyse`` and one thread per network."""
    from tclr.pipeline.export import embed

    _run(source, scratch / "store", client, AlignConfig(codec="lz4"))
    before = limit_threads(1)
    try:
        embed(scratch / "store", scratch / "features", None, EmbedConfig(embedding="none"))
    finally:
        limit_threads(before)


def bench_preprocess(source: Path, scratch: Path, runs: int) -> list[BenchRow]:
    """Measure preprocessing on running Dask clusters of one and of two workers.

    The source needs at least two clips of similar length, so that two workers have equal loads. One worker with a
    spare core decodes and writes in parallel with the landmarks; two workers on two cores cannot. The gain of two is
    therefore also measured against one worker on one core. Start-up counts nowhere.
    """
    clips = find_clips(source)
    n_frames = decode(clips, DetectConfig())
    with ExitStack() as stack:
        clients = {"one": stack.enter_context(connect(1, None)), "two": stack.enter_context(connect(2, None))}
        with one_core():
            clients["one core"] = stack.enter_context(connect(1, None))
        for name, client in clients.items():  # loads models and imports modules
            _run(source, scratch / f"warm {name}", client, AlignConfig())
        _run(source, scratch / "warm graph", clients["one"], AlignConfig(), "mediapipe")
        _run_to_features(source, scratch / "warm features", clients["one core"])
        taken_s = [_measure_run(source, clips, scratch, clients, run) for run in range(runs)]

    def ratio(above: str, below: str) -> tuple[float, ...]:
        return tuple(run_s[above] / run_s[below] for run_s in taken_s)

    rates, goal = tuple(n_frames / run_s["one"] for run_s in taken_s), 1.9 if CAN_PIN else None
    whole = tuple(n_frames / run_s["features"] for run_s in taken_s)
    return [
        BenchRow("preprocess, one worker", "decode + landmarks", ratio("bare", "one"), at_least=0.92, rates=rates),
        BenchRow("preprocess, one worker", "with mediapipe's graph", ratio("graph", "one"), at_least=1.6),
        BenchRow("video to AUs, one core", "", whole, "frames/s", at_least=150),
        BenchRow("preprocess, two workers", "one worker on one core", ratio("one core", "two"), at_least=goal),
        BenchRow("preprocess, two workers", "one worker on all cores", ratio("one", "two")),
        BenchRow("re-cropping, one worker", "decode", ratio("decode", "again"), at_least=0.7),
    ]


def _measure_run(
    source: Path, clips: Sequence[Clip], scratch: Path, clients: Mapping[str, Client], run: int
) -> dict[str, float]:
    """Return the seconds of the bare work, of each cluster, of decoding, and of re-cropping."""
    detect, other = DetectConfig(), AlignConfig(size=OTHER_SIZES[run % 2])
    works: dict[str, Callable[[], object]] = {
        "bare": partial(decode_and_landmark, clips, detect),
        **{name: partial(_run, source, scratch / f"{run} {name}", clients[name], AlignConfig()) for name in clients},
        "graph": partial(_run, source, scratch / f"{run} graph", clients["one"], AlignConfig(), "mediapipe"),
        "features": partial(_run_to_features, source, scratch / f"{run} features", clients["one core"]),
        "decode": partial(decode, clips, detect),
        "again": partial(_run, source, scratch / "warm one", clients["one"], other),
    }
    return {name: measure_s(work) for name, work in works.items()}
