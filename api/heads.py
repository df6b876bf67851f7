"""AU heads fitted to labels of one's own, matched to frames by subject, clip and frame number."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tclr.encoders import encoder_file
from tclr.pipeline.au import (
    WITHOUT_ENCODER,
    AuHead,
    LabelledFrames,
    fit_head,
    load_head,
    own_head,
    save_head,
)
from tclr.pipeline.au import fit_au as fit
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.features import embeddings_of, list_files, load
from tclr.pipeline.sources import read_label_rows
from tclr.pipeline.store import Store, leave_out
from tclr.pipeline.system import read_metadata, replacing
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.config import FitAuConfig
from tclr.schemas.errors import InputError, SettingError
from tclr.schemas.features import blendshape_columns
from tclr.settings import sort_settings

FilePath = str | PathLike[str]


@dataclass(frozen=True)
class FittedHead:
    """A fitted head: its file, and how good it is on people it has not seen.

    It can be given as ``au_model`` wherever a file can; ``scores`` has one row per AU. Without a file of your own, the
    head is deleted with this object: ``save`` copies it.
    """

    path: Path
    scores: pd.DataFrame
    left_out: dict[str, str]
    _kept: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    def __fspath__(self) -> str:
        return fspath(self.path)

    @property
    def aus(self) -> list[str]:
        """The AUs that it predicts."""
        return list(self.scores["name"])

    def save(self, path: FilePath) -> Path:
        """Copy the head to a file of ``tclr fit-au``'s format, and return its path.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        with replacing(Path(path)) as made:
            shutil.copyfile(self.path, made)
        return Path(path)


def fit_au(
    source: FilePath | Store,
    labels: pd.DataFrame,
    out: FilePath | None = None,
    *,
    encoder: FilePath = "box",
    neutral: FilePath | None = None,
    **settings: Any,
) -> FittedHead:
    """Fit an Action Unit head to labels of your own.

    Parameters
    ----------
    source : str, Path or Store
        A store, or a folder of features with an embedding (``embedding="wide"``) or blendshapes. Features hold fewer
        inputs than a store: heads on them are linear or ``mlp``.
    labels : pandas.DataFrame
        One row per labelled frame: ``subject``, ``clip`` and ``frame`` as in the features, and ``AU01_c`` (0/1),
        ``AU01_r`` (0..5) or ``AU01`` (0..1), empty where unknown. They come before the labels of a store, cell by cell.
    out : str or Path, optional
        The ``.safetensors`` file to write; by default a temporary one.
    encoder : str or Path
        As for ``tclr fit-au``; features have their own.
    neutral : str or Path, optional
        As for ``tclr fit-au``.
    **settings
        Settings of ``tclr fit-au``, with ``_`` for ``-``: ``head="mlp"``, ``inputs="face"``, ``folds=10``.

    Returns
    -------
    FittedHead
        Give it as ``au_model`` to ``analyse`` or ``Analyser``, or its ``path`` to ``tclr embed --au-model``.

    Raises
    ------
    InputError
        If the labels have no such columns or values, none of their rows fits a frame of the source, or they are of one
        kind only, so that nothing can be learnt.
    SettingError, StoreError, ModelError, OutputError
        As ``tclr.pipeline.au.fit_au``.

    Examples
    --------
    >>> truth = load_features("features", "clip,frame,AU??_true")
    >>> truth = truth.rename(columns=lambda name: name.replace("_true", "_c"))
    >>> head = fit_au("store", truth, inputs="blendshapes", folds=2)
    >>> head.aus[:2], analyse("clips", au_model=head, columns="AU12", hidden="keep", progress=False).shape
    (['AU01', 'AU02'], (32, 5))
    """
    if not isinstance(labels, pd.DataFrame):
        raise InputError(
            f"Expected labels as a DataFrame, but got {type(labels).__name__}. Give pandas.read_csv(path) for a file."
        )
    config: FitAuConfig = sort_settings(settings, {"fit_au": FitAuConfig}, "fit_au")["fit_au"]
    kept = tempfile.TemporaryDirectory(prefix="tclr-") if out is None else None
    path = Path(out) if out is not None else Path(kept.name if kept else "") / "au.safetensors"
    where = source.root if isinstance(source, Store) else Path(source)
    if any(where.glob("subject=*")):
        head = _fit_on_features(where, labels, path, config)
        return FittedHead(path, pd.DataFrame(head.scores), head.left_out, kept)
    loaded = network = None
    if config.inputs not in WITHOUT_ENCODER:
        loaded = load_encoder(encoder_file(encoder), seed=config.seed)
        network = own_head(encoder_file(encoder)) if config.head == "blend" else None
    at_rest = None if neutral is None else Path(neutral)
    fitted = fit(where, loaded, path, config, network=network, neutral=at_rest, labels=labels)
    return FittedHead(path, pd.DataFrame(fitted.scores), fitted.left_out, kept)


def _fit_on_features(folder: Path, labels: pd.DataFrame, out: Path, config: FitAuConfig) -> AuHead:
    """Fit a head on the embeddings or blendshapes of features, and write it."""
    files = list_files(folder)
    encoder = read_metadata(files[0][1]).get("encoder") or {}
    table = load(folder)
    table = table[table["subject"].isin(leave_out(sorted(set(table["subject"])), config.leave_out, folder))]
    inputs = _read_inputs(table, config, folder)
    frames = _labelled(table, inputs, labels, folder)
    head = fit_head(frames, config)
    if config.inputs == "embedding":
        about = {name: value for name, value in encoder.items() if name not in ("digest", "precision")}
        head = replace(head, encoder_digest=str(encoder.get("digest", "")), encoder_info=about)
    dataset = str(table["dataset"].iloc[0]) if "dataset" in table else ""
    people = sorted(f"{dataset}/{subject}" for subject in np.unique(frames.subjects))
    save_head(out, head, {"align_hash": "", "dataset": dataset, "subjects": people})
    return load_head(out)


def _read_inputs(table: pd.DataFrame, config: FitAuConfig, folder: Path) -> np.ndarray:
    """Return (N, D) float32 inputs of a head from features, NaN without a face."""
    if config.head not in ("linear", "mlp") or config.inputs not in ("embedding", "blendshapes"):
        raise SettingError(
            f"Expected head linear or mlp on inputs embedding or blendshapes for features, but got {config.head} on "
            f"{config.inputs}. Give the store instead of {folder}."
        )
    if config.inputs == "embedding":
        if not (embeddings := embeddings_of(table)).shape[1]:
            raise InputError(f"Expected an embedding in {folder}, but it has no embedding. Export with it.")
        return embeddings
    if missing := [name for name in blendshape_columns() if name not in table]:
        raise InputError(
            f"Expected blendshapes in {folder}, but it has no column {missing[0]!r}. Export with blendshapes=True."
        )
    return table[blendshape_columns()].to_numpy(np.float32, na_value=np.nan)


def _labelled(table: pd.DataFrame, inputs: np.ndarray, labels: pd.DataFrame, folder: Path) -> LabelledFrames:
    """Return the frames of features that have a face and a label, matched by subject, clip and frame number."""
    (rows,) = read_label_rows(labels)
    subjects, clips = (table[name].astype(str).to_numpy(dtype=str) for name in ("subject", "clip"))
    numbers = table["frame"].to_numpy(np.int64)
    known = pd.MultiIndex.from_arrays([subjects, clips, numbers])
    places = known.get_indexer(pd.MultiIndex.from_arrays([rows.subjects, rows.clips, rows.frames]))
    found = places >= 0
    if not found.any():
        raise InputError(
            f"Expected labels of frames of {folder}, which has for example {'/'.join(known[0][:2])} frame "
            f"{known[0][2]}, but no row fits. Correct the columns subject, clip and frame."
        )
    if len(np.unique(places[found])) < found.sum():
        raise InputError("Expected each frame once in the labels, but some stand twice in them. Remove one of each.")
    occurrence = np.full((len(table), len(rows.names)), UNKNOWN, np.int8)
    intensity = np.full(occurrence.shape, np.nan, np.float32)
    occurrence[places[found]], intensity[places[found]] = rows.occurrence[found], rows.intensity[found]
    used = np.isfinite(inputs).all(axis=1) & (occurrence != UNKNOWN).any(axis=1)
    if not used.any():
        raise InputError(f"Expected labelled frames with a face in {folder}, but found none.")
    names, times = list(rows.names), table["timestamp"].to_numpy(np.float64)
    everything = LabelledFrames(folder, names, inputs, occurrence, intensity, subjects, clips, numbers, times)
    return everything.take(used)
