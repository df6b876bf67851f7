"""The whole path as users take it: a source into a store, and features of each model from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from tclr.pipeline.export import embed
from tclr.pipeline.features import list_files, load
from tclr.pipeline.preprocessing import preprocess_all
from tclr.pipeline.system import read_metadata
from tclr.schemas.config import AlignConfig, EmbedConfig, PreprocessConfig
from tclr.schemas.errors import InputError

MODELS = ("face", "shape", "box", "blendshapes")
"""Names of ``tclr embed --au-model``, in the order of the tables; the first is the default."""
T = TypeVar("T")
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Predicted:
    """Features of one model: N rows in ``table``, as ``tclr.pipeline.features.load`` gives them.

    ``source`` names the model with its digest, ``threshold`` has the probability from which each AU counts as present.
    """

    model: str
    source: str
    threshold: dict[str, float]
    table: pd.DataFrame

    @property
    def au_names(self) -> tuple[str, ...]:
        """The AUs that the model predicts."""
        return tuple(self.threshold)

    def values(self, names: Sequence[str], ending: str = "") -> np.ndarray:
        """Return (N, A) float64 of the columns ``name + ending``, NaN where missing or without such a column."""
        columns = [name + ending for name in names]
        return np.asarray(self.table.reindex(columns=columns).astype("Float64").to_numpy(np.float64, na_value=np.nan))


def make_store(source: Path, store: Path, dataset: str, workers: int | None, tell: Tell, what: str) -> None:
    """Preprocess a source with the defaults; resumes. Raises what ``preprocess_all`` does."""
    name = f"Preprocessing {what}"
    tell(name, 0, 1)
    config = PreprocessConfig(align=AlignConfig(codec="lz4"))
    told = partial(tell, name)
    preprocess_all(source, store, config, dataset=dataset, workers=workers, progress=told)


def predict(store: Path, features: Path, models: Sequence[str], tell: Tell, what: str) -> dict[str, Predicted]:
    """Export the features of each model from a store and read them; resumes.

    Raises
    ------
    InputError
        If a clip fails.
    TclrError
        As ``embed`` does, for example if a bundled model cannot be loaded.
    """
    predicted = {}
    for model in models:
        name, folder = f"Embedding {what}, {model}", features / model
        tell(name, 0, 1)
        result = embed(
            store,
            folder,
            None,
            EmbedConfig(embedding="none"),
            au_model=model,
            replace=True,
            notify=lambda progress, name=name: tell(name, progress.n_frames, progress.n_frames_total),  # type: ignore[misc]
        )
        if result.failures:
            raise InputError(f"{result.failures[0].name}: {result.failures[0].reason}")
        predicted[model] = read_features(folder, model)
    return predicted


def read_features(folder: Path, model: str) -> Predicted:
    """Return the features of a folder."""
    metadata = read_metadata(list_files(folder)[0][1])
    return Predicted(model, str(metadata.get("au_source", "")), dict(metadata["au_thresholds"]), load(folder))


def in_order(by_name: Mapping[str, T], order: Sequence[str] = MODELS) -> dict[str, T]:
    """Return a mapping in the order of the tables, whatever order a file keeps."""
    return {name: by_name[name] for name in order if name in by_name}


def common_aus(predicted: dict[str, Predicted]) -> list[str]:
    """Return the AUs that all models predict, sorted."""
    names = [set(one.au_names) for one in predicted.values()]
    return sorted(set.intersection(*names)) if names else []
