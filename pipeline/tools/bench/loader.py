"""Measures reading tuples against reading single JPEG files and against the training step that needs them.

The paper's trainer reads single JPEG files with Pillow and transforms them with torchvision. Here the same is done with
the same crops, alternating with the loader, each on one core. Processor time is measured, since a busy machine changes
it little; the files are in the page cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tclr.pipeline.pretraining import Processes, Trainer
from tclr.pipeline.sources import find_clips
from tclr.pipeline.store import Store
from tclr.pipeline.tools.bench.memory import extract_clips
from tclr.pipeline.tools.bench.rows import BenchRow, measure_cpu_s, measure_s
from tclr.pipeline.tuples import TupleDataset, load_batches
from tclr.schemas.config import AlignConfig, PretrainConfig
from tclr.schemas.store import CHUNK_FRAMES

CODECS = {"none": 40.0, "lz4": 20.0, "zstd": 8.0}
"""Goal for each codec: its speed relative to single JPEG files."""
JPEG_QUALITY = 95
RESIZED_PX, CROP_PX = 256, 224
"""Sides of the paper's pictures after resizing and after cropping."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, as in the paper's trainer."""
TUPLES_A_RUN, TUPLES_A_BATCH = 240, 4
"""2,880 frames take some tenths of a second. With a tenth of them, starting the reading thread would show."""
JPEGS_A_RUN = 240
STEPS_A_RUN = 2


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_jpegs(frames: Iterable[np.ndarray], folder: Path) -> list[Path]:
    """Write (H, W, 3) uint8 frames as single JPEG files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, frame in enumerate(frames):
        paths.append(folder / f"{number:04d}.jpg")
        Image.fromarray(frame).save(paths[-1], quality=JPEG_QUALITY)
    return paths


def read_jpegs(paths: Sequence[Path], rng: np.random.Generator) -> Tensor:
    """Read JPEG files as the paper's trainer does: resized, randomly cropped, normalised; (n, 3, 224, 224) float32."""
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
    """Measure the loader's frames per second and core relative to single JPEG files of the same crops."""
    config = PretrainConfig(recipe="paper")
    with Store(store) as opened:
        subjects = opened.subjects
    tuples = TupleDataset(store, subjects, config, anchors_per_clip=TUPLES_A_RUN)
    n_frames, ratios, rates = len(tuples) * tuples.n_frames, [], []
    _read_tuples(tuples)  # loads the clips' timestamps, as in the middle of training
    for run in range(runs):
        tuples.epoch = run
        rng = np.random.default_rng(run)
        files = [jpegs[i] for i in rng.integers(0, len(jpegs), JPEGS_A_RUN)]
        jpeg_rate = len(files) / measure_cpu_s(partial(read_jpegs, files, rng))
        rates.append(n_frames / measure_cpu_s(partial(_read_tuples, tuples)))
        ratios.append(rates[-1] / jpeg_rate)
    name = f"tuples, codec {codec}"
    return BenchRow(name, "JPEG files with Pillow", tuple(ratios), at_least=CODECS.get(codec), rates=tuple(rates))


def bench_step(store: Path, config: PretrainConfig, runs: int) -> BenchRow:
    """Measure a whole training step relative to the network's part of it.

    Batches are read ahead, as in the middle of an epoch.
    """
    trainer = Trainer(store, config, None, Processes(torch.device("cpu")))
    trainer.model.train()
    shape = (config.batch_size * trainer.data.train_tuples.n_frames, 3, config.image_size, config.image_size)
    x = torch.rand(shape).to(memory_format=torch.channels_last)
    weights = torch.rand(shape[0], config.embedding_dim) / shape[0]

    def bare() -> None:  # on pictures in memory, with a loss that costs next to nothing
        for _ in range(STEPS_A_RUN):
            loss = (trainer.model.encoder(x) * weights).sum()
            trainer.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            trainer.optimizer.step()

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
    return BenchRow("training step", "the network's part", tuple(ratios), at_most=1.05)


def _read_blocks(store: Store, starts: Sequence[int], length: int) -> None:
    for start in starts:
        store.read_crops(store.clips[0], start, start + length)


def bench_windows(folder: Path, runs: int, n_windows: int = 40, length: int = 12) -> BenchRow:
    """Measure reading random 12-frame windows of a store relative to reading its chunks in sequence."""
    ratios = []
    with Store(folder) as store:
        info = store.clips[0]
        span = max(1, info.n_frames - length)
        for run in range(runs):
            starts = np.random.default_rng(run).integers(0, span, n_windows).tolist()
            windows_s = measure_s(partial(_read_blocks, store, starts, length))
            blocks = range(0, info.n_frames, CHUNK_FRAMES)
            all_s = measure_s(partial(_read_blocks, store, blocks, CHUNK_FRAMES))
            ratios.append((n_windows * length / windows_s) / (info.n_frames / all_s))
    return BenchRow("random 12-frame windows", "sequential chunks", tuple(ratios))


def bench_loader(source: Path, scratch: Path, runs: int) -> list[BenchRow]:
    """Measure all rows on the first clip of a source folder; it must be long enough for a tuple."""
    clips = find_clips(source)[:1]
    stores = {codec: scratch / codec for codec in CODECS}
    with _one_thread():
        for codec, store in stores.items():
            extract_clips(clips, store, AlignConfig(codec=codec))
        with Store(stores["none"]) as opened:
            jpegs = write_jpegs(opened.read_crops(opened.clips[0]), scratch / "jpeg")
        rows = [bench_codec(store, jpegs, codec, runs) for codec, store in stores.items()]
        config = PretrainConfig(recipe="paper", batch_size=1, anchors_per_clip=8, val_share=0)
        return [*rows, bench_windows(stores["zstd"], runs), bench_step(stores["zstd"], config, runs)]
