"""A store and features that belong to it, with numbers that are easy to check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tclr.pipeline.store import Store
from tclr.pipeline.system import write_table
from tclr.schemas.features import FORMAT, FORMAT_VERSION

METADATA = {"format": FORMAT, "format_version": FORMAT_VERSION, "au_source": "head:0123", "encoder": {"digest": "4567"}}
METADATA |= {"note": "</script><b>bold</b>", "au_thresholds": {"AU01": 0.5}}


@pytest.fixture(scope="session")
def make_features() -> Callable[..., Path]:
    """Return a function that writes features of a store: AU01 = row / n, AU12_r = 5 AU01, labels of the store.

    With ``collapsed``, all embeddings are the same and AU01 is always present.
    """

    def make(store_path: Path, folder: Path, *, dim: int = 4, drop_rows: int = 0, collapsed: bool = False) -> Path:
        with Store(store_path) as store:
            for info in store.clips:
                n = info.n_frames - drop_rows
                face = store.face_mask(info)[:n]
                level, labels = np.arange(n) / n, store.read(info, "au")[:n]
                points = np.random.default_rng(n).normal(size=(n, dim)) + len(info.subject)
                points = points * 0 + 1 if collapsed else points
                columns = {
                    "clip": [info.clip] * n,
                    "frame": store.read(info, "source_frame")[:n],
                    "timestamp": store.read(info, "timestamp")[:n],
                    "status": ["ok" if here else "no_face" for here in face],
                    "AU01": pa.array(level, pa.float32(), mask=~face),
                    "AU01_c": pa.array((level >= (0 if collapsed else 0.5)).astype(np.int8), mask=~face),
                    "AU12_r": pa.array(5 * level, pa.float32(), mask=~face),
                    **{f"{name}_true": labels[:, i] for i, name in enumerate(store.names(info, "au"))},
                    **{f"emb_{i:03d}": pa.array(points[:, i], pa.float32(), mask=~face) for i in range(dim)},
                }
                path = folder / f"subject={info.subject}" / f"{info.clip}.parquet"
                write_table(path, pa.table(columns), {**METADATA, "columns": list(columns)})
        return folder

    return make


@pytest.fixture(scope="session")
def stored(make_store, tmp_path_factory) -> Path:
    """Two subjects of two clips, 40 frames, the second frame without a face."""
    return make_store(tmp_path_factory.mktemp("pages") / "store", n_subjects=2, n_clips=2, no_face=(1,))


@pytest.fixture(scope="session")
def features(make_features, stored) -> Path:
    return make_features(stored, stored.parent / "features")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """What the report reads of a pretraining run of two epochs."""
    run = tmp_path_factory.mktemp("run")
    lines = [
        {"epoch": i, "train_loss": 1 / i, "val_loss": 2 / i, "val_accuracy": 0.7, "embedding_std": 0.4} for i in (1, 2)
    ]
    (run / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    curve = {"seconds": [0.04, 0.08], "mean": [0.1, 0.25], "q25": [0.05, 0.2], "q75": [0.2, 0.375], "n": [8, 8]}
    (run / "distance.json").write_text(json.dumps({"before training": curve, "trained": curve}))
    measure = {"name": "spread", "trained": 0.01, "start": 0.6, "good": "0.05 to 1", "verdict": "collapsed"}
    (run / "quality.json").write_text(json.dumps({"measures": [measure]}))
    (run / "config.json").write_text(json.dumps({"recipe": "tclr", "epochs": 2}))
    return run


@pytest.fixture(scope="session")
def report(stored, features, run_folder) -> Path:
    from tclr.pipeline.views.report import write_report

    return write_report(stored, stored.parent / "report.html", features=features, run=run_folder)
