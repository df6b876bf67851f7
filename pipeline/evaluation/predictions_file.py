"""Out-of-fold predictions of an evaluation to one Parquet file; see ``tclr.schemas.predictions``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tclr.pipeline.au import LabelledFrames
from tclr.pipeline.evaluation.evaluation import MethodResult
from tclr.pipeline.evaluation.folds import FoldedData
from tclr.pipeline.store import Store
from tclr.pipeline.system import write_table
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.predictions import FORMAT, FORMAT_VERSION, predictions_schema


def _source_frames(frames: LabelledFrames) -> np.ndarray:
    """Return (N,) int64: the number of each frame in its source."""
    numbers = np.empty(len(frames), np.int64)
    with Store(frames.store) as store:
        infos = {(info.subject, info.clip): info for info in store.clips}
        for key, places in frames.by_clip():
            numbers[places] = store.read(infos[key], "source_frame")[frames.rows[places]]
    return numbers


def _text(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def _frame_columns(data: FoldedData) -> dict[str, pa.Array]:
    """Return the columns of the test frames that do not depend on the method."""
    datasets = {store.path: store.facts.dataset for store in data.stores}
    tests = [fold.test for fold in data.folds]
    repeats = [len(test) for test in tests]
    return {
        "fold": _text(np.repeat([fold.split.name for fold in data.folds], repeats).tolist()),
        "dataset": _text(np.repeat([datasets[test.store] for test in tests], repeats).tolist()),
        "subject": _text(np.concatenate([test.subjects for test in tests]).tolist()),
        "clip": _text(np.concatenate([test.clips for test in tests]).tolist()),
        "frame": pa.array(np.concatenate([_source_frames(test) for test in tests])),
        "timestamp": pa.array(np.concatenate([test.timestamps for test in tests])),
    }


def _au_columns(result: MethodResult, au_names: Sequence[str]) -> Iterator[tuple[str, pa.Array]]:
    found = result.outcomes
    for column, name in enumerate(au_names):
        for suffix, values in (("", found.probability), ("_r", found.intensity), ("_r_true", found.intensity_label)):
            numbers = values[:, column]
            yield f"{name}{suffix}", pa.array(numbers, pa.float32(), mask=np.isnan(numbers))
        for suffix, codes in (("_c", found.decision), ("_true", found.label)):
            yield f"{name}{suffix}", pa.array(codes[:, column], pa.int8(), mask=codes[:, column] == UNKNOWN)


def write_predictions(path: Path, data: FoldedData, results: Sequence[MethodResult]) -> None:
    r"""Write the predictions of all methods.

    Raises
    ------
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> from tclr.schemas.config import EvaluateConfig, FitAuConfig
    >>> _ = Path("folds.csv").write_text("subject,fold\nF001,a\nF003,b\n")
    >>> stores, methods = [Path("store")], ["all-positive"]
    >>> evaluation = Evaluation(stores, "folds.csv", "random", EvaluateConfig(), FitAuConfig(), methods=methods)
    >>> write_predictions(Path("predictions.parquet"), evaluation.data, list(evaluation.run()))
    """
    schema, frames = predictions_schema(data.plan.au_names), _frame_columns(data)
    tables = []
    for result in results:
        columns = {"method": _text([result.method] * data.n_tested), **frames}
        columns |= dict(_au_columns(result, data.plan.au_names))
        tables.append(pa.table([columns[name] for name in schema.names], schema=schema))
    metadata = {"format": FORMAT, "format_version": FORMAT_VERSION, "protocol": data.plan.protocol}
    write_table(path, pa.concat_tables(tables).unify_dictionaries(), metadata)
