"""Measures embedding against the bare network, and writing and reading of features."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from tclr.pipeline.encoder import LoadedEncoder, load_encoder
from tclr.pipeline.export import embed, with_pandas_types
from tclr.pipeline.features import load
from tclr.pipeline.sources import find_clips
from tclr.pipeline.store import Store
from tclr.pipeline.system import write_table
from tclr.pipeline.tools.bench.memory import SMALL_CROPS, extract_clips
from tclr.pipeline.tools.bench.rows import BenchRow, measure_s
from tclr.schemas.config import EmbedConfig
from tclr.schemas.features import FORMAT, FORMAT_VERSION, features_schema

N_ROWS, ROWS_A_CLIP = 1_000_000, 10_000
EMBEDDING_DIM = 64
AUS = [f"AU{number:02d}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26)]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
LAYOUTS = (torch.contiguous_format, torch.channels_last)
BATCH_SIZES = (16, 64, 128)
TRIED_FRAMES = 128
"""Pictures on which the network's best dtype, layout and batch size are chosen; each trial takes some seconds."""


@torch.inference_mode()
def _bare(model: torch.nn.Module, x: Tensor, batch_size: int, dtype: torch.dtype) -> None:
    with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
        for part in x.split(batch_size):
            model(part)


def _pictures(encoder: LoadedEncoder, n_frames: int) -> Tensor:
    side = encoder.info.image_size
    return torch.rand(n_frames, 3, side, side, device=encoder.device)


def bench_embed(store: Path, encoder: LoadedEncoder, scratch: Path, runs: int) -> BenchRow:
    """Measure an export with embeddings against the network alone, at the network's best dtype, layout and batch size.

    The export uses that dtype, too.
    """
    with Store(store) as opened:
        n_frames = sum(int(opened.face_mask(info).sum()) for info in opened.clips)
    ways = [(name, layout, size) for name in PRECISIONS for layout in LAYOUTS for size in BATCH_SIZES]
    few = _pictures(encoder, min(n_frames, TRIED_FRAMES))
    _bare(encoder.model, few[:16], 16, torch.float32)  # the first pass initialises
    tried = [
        (measure_s(partial(_bare, encoder.model, few.contiguous(memory_format=layout), size, PRECISIONS[name])), i)
        for i, (name, layout, size) in enumerate(ways)
    ]
    precision, layout, size = ways[min(tried)[1]]
    config = EmbedConfig(precision=precision)
    x = _pictures(encoder, n_frames).contiguous(memory_format=layout)
    shares, rates = [], []
    for run in range(runs):
        bare_s = measure_s(partial(_bare, encoder.model, x, size, PRECISIONS[precision]))
        whole_s = measure_s(partial(embed, store, scratch / f"features{run}", encoder, config))
        shares.append(bare_s / whole_s)
        rates.append(n_frames / whole_s)
    best = f"network alone, batch {size}"
    return BenchRow(f"embed, {precision}", best, tuple(shares), at_least=0.95, rates=tuple(rates))


def _make_table(n_rows: int) -> pa.Table:
    """Return the features of a clip, with random values."""
    schema = with_pandas_types(features_schema(AUS, [], EMBEDDING_DIM, blendshapes=False))
    rng, columns = np.random.default_rng(0), []
    for field in schema:
        if pa.types.is_floating(field.type):
            values = pa.array(rng.random(n_rows), field.type)
        elif pa.types.is_integer(field.type):
            values = pa.array(np.arange(n_rows) % 100, field.type)
        else:
            values = pa.array(["ok"] * n_rows).cast(field.type)
        columns.append(values)
    return pa.table(columns, schema=schema)


def bench_tables(scratch: Path, runs: int) -> list[BenchRow]:
    """Measure writing Parquet, and reading the AU columns of a million rows with pandas and with ``load``."""
    folder = scratch / "million"
    table = _make_table(ROWS_A_CLIP)
    metadata = {"format": FORMAT, "format_version": FORMAT_VERSION}
    first = folder / "subject=S000" / "clip.parquet"
    written = [measure_s(partial(write_table, first, table, metadata)) for _ in range(runs)]
    for number in range(1, N_ROWS // ROWS_A_CLIP):
        path = folder / f"subject=S{number:03d}" / "clip.parquet"
        path.parent.mkdir()
        shutil.copyfile(first, path)
    pandas_s = [measure_s(partial(pd.read_parquet, folder, columns=AUS)) for _ in range(runs)]
    load_s = [measure_s(partial(load, folder, AUS)) for _ in range(runs)]
    return [
        BenchRow("Parquet written", "", tuple(ROWS_A_CLIP / seconds for seconds in written), "rows/s"),
        BenchRow(f"pandas.read_parquet, {len(AUS)} AUs of {N_ROWS:,} rows", "", tuple(pandas_s), "s", at_most=1),
        BenchRow("tclr.pipeline.features.load, the same", "", tuple(load_s), "s"),
    ]


def bench_export(source: Path, scratch: Path, runs: int) -> list[BenchRow]:
    """Measure all rows; the first clip of a source folder is embedded."""
    extract_clips(find_clips(source)[:1], scratch / "store", SMALL_CROPS)
    return [bench_embed(scratch / "store", load_encoder("random"), scratch, runs), *bench_tables(scratch, runs)]
