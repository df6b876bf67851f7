"""What reading tuples costs, beside reading single JPEG files and beside the step that needs them.

The paper's trainer reads single JPEG files with Pillow and treats them with torchvision; the same is done here on the
same crops, alternating with the loader, each on one core. What counts is the processor's time, which a busy machine
changes little; files are in the system's memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tclr.pipeline.benchmark import BenchRow, measure_cpu_s, measure_s
from tclr.pipeline.distributed import Processes
from tclr.pipeline.extract import extract_clip
from tclr.pipeline.loader import load_batches
from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.store import Store
from tclr.pipeline.trainer import Trainer
from tclr.pipeline.tuples import TupleDataset
from tclr.schemas.config import AlignConfig, DetectConfig, PretrainConfig

CODECS = ("none", "lz4", "zstd")
JPEG_QUALITY = 95
RESIZED_PX, CROP_PX = 256, 224
"""Sides of the paper's pictures, resized and cropped."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, as the paper's trainer has them."""
TUPLES_A_RUN, TUPLES_A_BATCH = 24, 4
"""Chosen by us: 288 frames, some tenths of a second."""
JPEGS_A_RUN = 96
STEPS_A_RUN = 2


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_jpegs(frames: np.ndarray, folder: Path) -> list[Path]:
    """Write (n, S, S, 3) uint8 frames as single JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.jpg" for number in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path, quality=JPEG_QUALITY)
    return paths


def read_jpegs(paths: Sequence[Path], rng: np.random.Generator) -> Tensor:
    """Read single JPEG files as the paper's trainer does: resized, cropped at random, normalised.

    Returns
    -------
    Tensor
        (n, 3, 224, 224) float32.
    """
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    pictures = []
    for path in paths:
        with Image.open(path) as file:
            picture = file.convert("RGB").resize((RESIZED_PX, RESIZED_PX), Image.Resampling.BILINEAR)
        left, top = rng.integers(0, RESIZED_PX - CROP_PX + 1, 2).tolist()
        pixels = np.array(picture.crop((left, top, left + CROP_PX, top + CROP_PX)))
        picture_01 = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        pictures.append(picture_01.sub_(mean).div_(std))
    return torch.stack(pictures)


def _read_tuples(tuples: TupleDataset) -> None:
    batches = [range(i, i + TUPLES_A_BATCH) for i in range(0, len(tuples), TUPLES_A_BATCH)]
    for _ in load_batches(tuples, batches, num_workers=0, device=torch.device("cpu")):
        pass


def bench_codec(store: Path, jpegs: Sequence[Path], codec: str, runs: int) -> BenchRow:
    """Measure the loader's frames a second and core against single JPEG files of the same crops; higher is better."""
    config = PretrainConfig(recipe="paper")
    with Store(store) as opened:
        subjects = opened.subjects
    tuples = TupleDataset(store, subjects, config, anchors_per_clip=TUPLES_A_RUN)
    n_frames, ratios, rates = len(tuples) * tuples.n_frames, [], []
    for run in range(runs):
        tuples.set_epoch(run)
        rng = np.random.default_rng(run)
        files = [jpegs[i] for i in rng.integers(0, len(jpegs), JPEGS_A_RUN)]
        jpeg_rate = len(files) / measure_cpu_s(partial(read_jpegs, files, rng))
        rates.append(n_frames / measure_cpu_s(partial(_read_tuples, tuples)))
        ratios.append(rates[-1] / jpeg_rate)
    return BenchRow(f"tuples, codec {codec}", "JPEG files with Pillow", tuple(ratios), tuple(rates))


def _bare_step(trainer: Trainer, x: Tensor, weights: Tensor) -> None:
    """Take a step on pictures that are there, for a loss that costs nothing."""
    loss = (trainer.model.encoder(x) * weights).sum()
    trainer.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    trainer.optimizer.step()


def bench_step(store: Path, config: PretrainConfig, runs: int) -> BenchRow:
    """Measure a training step with all that it reads and computes against the network's part; lower is better.

    Batches are read ahead all the while, as in the midst of an epoch.
    """
    trainer = Trainer(store, config, None, Processes(torch.device("cpu")))
    trainer.model.train()
    shape = (config.batch_size * trainer.train_tuples.n_frames, 3, config.image_size, config.image_size)
    x = torch.rand(shape).to(memory_format=torch.channels_last)
    weights = torch.rand(shape[0], config.embedding_dim) / shape[0]

    def bare() -> None:
        for _ in range(STEPS_A_RUN):
            _bare_step(trainer, x, weights)

    def full(steps: Iterator[int]) -> None:
        for _ in range(STEPS_A_RUN):
            next(steps)

    bare()
    ratios = []
    for _ in range(runs):
        bare_s = measure_s(bare)
        trainer.step = 0
        with closing(trainer.steps()) as steps:  # type: ignore[type-var]
            next(steps)
            ratios.append(measure_s(partial(full, steps)) / bare_s)
    return BenchRow("training step", "the network's part", tuple(ratios))


def _extract(clip: Clip, folder: Path, codec: str) -> Path:
    store = folder / codec
    extract_clip(clip, store / "subjects" / f"{clip.subject}.h5", DetectConfig(), AlignConfig(codec=codec), "bench")
    return store


def run_loader_benchmark(source: Path, runs: int, tell: Callable[[str], None] = lambda what: None) -> list[BenchRow]:
    """Measure all rows on the first clip of a source folder; ``tell`` is called with what is measured next.

    Raises
    ------
    InputError
        If there is no clip in it, or none long enough for a tuple.
    """
    clip = find_clips(source)[0]
    with tempfile.TemporaryDirectory() as scratch, _one_thread():
        folder = Path(scratch)
        tell("Making stores and JPEG files")
        stores = {codec: _extract(clip, folder, codec) for codec in CODECS}
        with Store(stores["none"]) as opened:
            jpegs = write_jpegs(opened.read_frames(opened.clips[0]), folder / "jpeg")
        rows = []
        for codec, store in stores.items():
            tell(f"Measuring tuples, codec {codec}")
            rows.append(bench_codec(store, jpegs, codec, runs))
        tell("Measuring training steps")
        config = PretrainConfig(recipe="paper", batch_size=1, anchors_per_clip=8, val_share=0)
        return [*rows, bench_step(stores["zstd"], config, runs)]
