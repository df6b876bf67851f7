"""AU heads fitted to labels of one's own, matched to frames by subject, clip and frame number."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tclr.pipeline.au import (
    BOX,
    WITHOUT_ENCODER,
    AuHead,
    ClipLabels,
    LabelledFrames,
    fit_head,
    load_head,
    save_head,
    spread_labels,
)
from tclr.pipeline.au import fit_au as fit
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.features import embeddings_of, list_files, load
from tclr.pipeline.sources import labels_of_columns
from tclr.pipeline.store import Store, leave_out
from tclr.pipeline.system import read_metadata
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.config import FitAuConfig
from tclr.schemas.errors import InputError, SettingError
from tclr.schemas.features import blendshape_columns
from tclr.settings import sort_settings

FilePath = str | PathLike[str]
KEYS = ("subject", "clip", "frame")


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
        """Copy the head to a file of ``tclr fit-au``'s format, and return its path."""
        return Path(shutil.copyfile(self.path, path))


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
        ``AU01_r`` (0..5) or ``AU01`` (0..1), empty where unknown. Frames that are not labelled are not used.
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
        If the labels have no such columns or values, name a clip or frame that the source does not have, or are of one
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
    config: FitAuConfig = sort_settings(settings, {"fit_au": FitAuConfig}, "fit_au")["fit_au"]
    kept = tempfile.TemporaryDirectory(prefix="tclr-") if out is None else None
    path = Path(out) if out is not None else Path(kept.name if kept else "") / "au.safetensors"
    where = source.root if isinstance(source, Store) else Path(source)
    if any(where.glob("subject=*")):
        head = _fit_on_features(where, labels, path, config)
        return FittedHead(path, pd.DataFrame(head.scores), head.left_out, kept)
    with Store(where) as store:
        given = match_labels(labels, [(info.subject, info.clip) for info in store.clips], where)
        for info in store.clips:
            _check_frames(given.get((info.subject, info.clip)), store.read(info, "source_frame"), info.name, where)
    loaded = None
    if config.inputs not in WITHOUT_ENCODER:
        loaded = load_encoder(BOX if str(encoder) == "box" else Path(encoder), seed=config.seed)
    at_rest = None if neutral is None else Path(neutral)
    fitted = fit(where, loaded, path, config, neutral=at_rest, labels=given)
    return FittedHead(path, pd.DataFrame(fitted.scores), fitted.left_out, kept)


def match_labels(
    table: pd.DataFrame, known: Iterable[tuple[str, str]], where: Path
) -> dict[tuple[str, str], ClipLabels]:
    """Return the labels of a table by subject and clip.

    Raises
    ------
    InputError
        If a column is missing or unknown, a value is out of range, or a clip is not in ``known``.
    """
    if missing := [name for name in KEYS if name not in table]:
        given = ", ".join(map(str, table.columns))
        raise InputError(f"Expected labels with the columns {', '.join(KEYS)}, but got no {missing[0]!r}: {given}.")
    clips = set(known)
    if table[list(KEYS)].isna().any(axis=None):
        raise InputError("Expected subject, clip and frame in every row of the labels, but some are empty.")
    names = [str(name) for name in table.columns if name not in (*KEYS, "timestamp")]
    if not names:
        raise InputError("Expected labels in columns such as AU12_c, but got only subject, clip and frame. Add some.")
    labels: dict[tuple[str, str], ClipLabels] = {}
    for (subject, clip), rows in table.groupby(["subject", "clip"], observed=True, sort=False):
        if (str(subject), str(clip)) not in clips:
            near = ", ".join("/".join(key) for key in sorted(clips)[:5])
            raise InputError(
                f"Expected labels of clips in {where}, but it has no {subject}/{clip}. It has, for instance: {near}."
            )
        frames = _whole_numbers(rows["frame"], f"{subject}/{clip}")
        values = np.stack([_numbers(rows[name], name, f"{subject}/{clip}") for name in names], axis=1)
        labels[str(subject), str(clip)] = labels_of_columns(names, frames, values, f"the labels of {subject}/{clip}")
    if not labels:
        raise InputError("Expected one row per labelled frame, but got no labels.")
    return labels


def _numbers(column: pd.Series, name: str, clip: str) -> np.ndarray:
    """Return a column as (N,) float64, NaN where it is empty."""
    try:
        return pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"Expected numbers in column {name!r} of the labels of {clip}, but got others ({error}). Correct them, or "
            "leave the cell of an unknown label empty."
        ) from error


def _whole_numbers(frames: pd.Series, clip: str) -> np.ndarray:
    numbers = _numbers(frames, "frame", clip)
    if not (np.isfinite(numbers) & (numbers == np.floor(numbers))).all():
        raise InputError(f"Expected whole frame numbers in the labels of {clip}, but got others, as in the features.")
    return numbers.astype(np.int64)


def _check_frames(labels: ClipLabels | None, frames: np.ndarray, name: str, where: Path) -> None:
    """Refuse labels none of whose frames a clip has: they count from another number, or belong elsewhere."""
    if labels is not None and (labels.at(frames) == UNKNOWN).all() and np.isnan(labels.intensity_at(frames)).all():
        raise InputError(
            f"Expected labels of frames {frames.min()} to {frames.max()} of {name} in {where}, but got none of these. "
            "Number frames as in the column 'frame' of the features."
        )


def _fit_on_features(folder: Path, labels: pd.DataFrame, out: Path, config: FitAuConfig) -> AuHead:
    """Fit a head on the embeddings or blendshapes of features, and write it."""
    files = list_files(folder)
    encoder = read_metadata(files[0][1]).get("encoder") or {}
    table = load(folder)
    table = table[table["subject"].isin(leave_out(sorted(set(table["subject"])), config.leave_out, folder))]
    inputs = _read_inputs(table, config, folder)
    known = {(str(subject), str(clip)) for subject, clip in zip(table["subject"], table["clip"], strict=True)}
    given = match_labels(labels, known, folder)
    frames = _labelled(table, inputs, given, folder)
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


def _labelled(
    table: pd.DataFrame, inputs: np.ndarray, given: Mapping[tuple[str, str], ClipLabels], folder: Path
) -> LabelledFrames:
    names = sorted({name for labels in given.values() for name in labels.names})
    occurrence = np.full((len(table), len(names)), UNKNOWN, np.int8)
    intensity = np.full(occurrence.shape, np.nan, np.float32)
    subjects, clips = (table[name].astype(str).to_numpy(dtype=str) for name in ("subject", "clip"))
    numbers = table["frame"].to_numpy(np.int64)
    for (subject, clip), labels in given.items():
        rows = np.flatnonzero((subjects == subject) & (clips == clip))
        _check_frames(labels, numbers[rows], f"{subject}/{clip}", folder)
        occurrence[rows], intensity[rows] = spread_labels(labels, numbers[rows], names)
    used = np.isfinite(inputs).all(axis=1) & (occurrence != UNKNOWN).any(axis=1)
    if not used.any():
        raise InputError(f"Expected labelled frames with a face in {folder}, but found none.")
    times = table["timestamp"].to_numpy(np.float64)
    everything = LabelledFrames(folder, names, inputs, occurrence, intensity, subjects, clips, numbers, times)
    return everything.take(used)
