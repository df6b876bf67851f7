"""One call from a video, a folder or frames to a data frame: what ``tclr preprocess`` and ``tclr embed`` do."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from tclr.encoders import open_own
from tclr.frames import clip_of_frames
from tclr.opening import load_features, split_names
from tclr.pipeline.export import EmbedProgress, EmbedResult, embed
from tclr.pipeline.preprocessing import PreprocessResult, preprocess
from tclr.pipeline.sources import Clip
from tclr.pipeline.system import Failure
from tclr.pipeline.views.progress import ClipBars, Display, show_progress
from tclr.schemas.config import EmbedConfig, PreprocessConfig
from tclr.schemas.errors import InputError, SettingError
from tclr.settings import ANALYSE, sort_settings

FilePath = str | PathLike[str]
Source = FilePath | np.ndarray | Iterable[np.ndarray]
QUICK_CODEC = "lz4"
"""Compression of crops that are not kept: lossless, as the default, and faster."""


def analyse(
    source: Source,
    *,
    columns: str | Iterable[str] | None = None,
    au_model: FilePath = "face",
    embedding: Literal["none", "wide", "list"] = "none",
    faces: Literal["subject", "all"] = "subject",
    encoder: FilePath | None = None,
    fps: float | None = None,
    timestamps_s: Sequence[float] | None = None,
    workers: int | None = None,
    store: FilePath | None = None,
    features: FilePath | None = None,
    replace: bool = False,
    dataset: str = "auto",
    stills: bool = False,
    allow_truncated: bool = False,
    progress: bool | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Return the features of the faces in a video, a folder or some frames: one row per frame.

    The numbers are those of ``tclr preprocess`` followed by ``tclr embed`` with the same settings. Nothing is left on
    the disk unless ``store`` or ``features`` is given.

    Parameters
    ----------
    source : str, Path, array or iterable
        A video, a folder (see ``tclr datasets``), or frames: T pictures (H, W, 3) uint8 RGB of one size, as an array
        (T, H, W, 3), a list or another iterable. Frames stay in memory, and need ``fps`` or ``timestamps_s``.
    columns : str or iterable of str, optional
        Columns to return, as names or patterns such as ``"AU*,pitch,yaw,roll"``; default all. ``subject``, ``clip``,
        ``frame`` and ``timestamp`` are always returned.
    au_model : str or Path
        ``face``, ``shape``, ``box``, ``blendshapes``, or a head of ``fit_au``.
    embedding : str
        ``none``, ``wide`` (one column per dimension) or ``list`` (one column).
    faces : str
        ``subject`` follows one person per clip, ``all`` gives each person a clip of their own, ``clip#1``.
    encoder : str or Path, optional
        File or run folder of another encoder, as ``tclr embed --encoder`` takes.
    fps : float, optional
        Of frames in memory the rate that they were taken at. Of a video, how many frames per second to keep; default
        all.
    timestamps_s : sequence of float, optional
        Of frames in memory, instead of ``fps``: T times in seconds, never falling.
    workers : int, optional
        Worker processes; 0 does everything in this process, which is a script's default, because workers need
        ``if __name__ == "__main__":`` in it. At a prompt or in a notebook, larger jobs have one process per core.
    store, features : str or Path, optional
        Folders to keep landmarks and crops, and Parquet files, in. If they exist, finished work is not repeated.
    replace : bool
        Whether to replace what another model, other columns or other settings wrote into ``features``; else that is an
        error.
    dataset, stills, allow_truncated
        As the options of ``tclr preprocess``.
    progress : bool, optional
        Whether to show progress on a terminal's standard error, which is the default.
    **settings
        Any other setting of detection, alignment, limits or export, named as on the command line, with ``_`` for
        ``-``: ``size=112``, ``hidden="keep"``, ``centre="subject"``. ``smooth_s`` smooths crops, ``smooth`` AUs.

    Returns
    -------
    pandas.DataFrame
        One row per frame, sorted by subject, clip and frame, with the columns of ``tclr.schemas.features`` and
        ``subject``. Numbers are null in frames without a face.

    Warns
    -----
    UserWarning
        For each clip that failed while others did not, and for each that shows something unusual.

    Raises
    ------
    InputError
        If the source or every clip of it cannot be read, or frames have another shape or dtype.
    SettingError
        If a setting is unknown or out of range.
    StoreError, ModelError, OutputError, ClusterError
        As ``tclr.pipeline.preprocessing.preprocess`` and ``tclr.pipeline.export.embed``.

    Examples
    --------
    >>> df = analyse("clips", columns="status,AU12", hidden="keep", progress=False)
    >>> df.shape, list(df.columns)
    ((32, 6), ['subject', 'clip', 'frame', 'timestamp', 'status', 'AU12'])

    Frames come from anywhere:

    >>> from PIL import Image
    >>> frames = [np.array(Image.open(path)) for path in sorted(Path("clips/2D+3D/F001/T1").glob("*.jpg"))]
    >>> analyse(frames, fps=25, columns=["AU12"], hidden="keep", progress=False).shape
    (16, 5)
    """
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise SettingError(
            f"Expected workers to be a whole number from 0, but got {workers!r}. Leave it out, or give 0."
        )
    on_disk = isinstance(source, (str, PathLike))
    if on_disk and timestamps_s is not None:
        raise InputError(
            f"Expected timestamps_s with frames in memory only, but {source} is on the disk. Leave it out."
        )
    if on_disk and fps is not None:
        settings["fps"] = fps
    if store is None:
        settings.setdefault("codec", QUICK_CODEC)
    settings |= {"faces": faces, "embedding": embedding, "columns": ",".join(split_names(columns))}
    parsed = sort_settings(settings, ANALYSE, "analyse")
    config = PreprocessConfig(parsed["detect"], parsed["align"], allow_truncated, parsed["limits"], stills)
    what = Path(source) if isinstance(source, (str, PathLike)) else clip_of_frames(source, fps, timestamps_s)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tclr-")))
        store_path = folder / "store" if store is None else Path(store)
        features_path = folder / "features" if features is None else Path(features)
        display = stack.enter_context(show_progress(progress is not False))
        display.stage("Starting")
        n_workers = _choose_workers(workers, what)
        made = preprocess(
            what, store_path, config, dataset=dataset, workers=n_workers, notify=ClipBars(display), tell=display.stage
        )
        _check(made, made.n_clips)
        exported = _export(
            store_path, features_path, encoder, parsed["embed"], au_model, workers or 0, replace, display
        )
        _check(exported, exported.n_clips)
        return load_features(features_path)


def _choose_workers(workers: int | None, what: Path | Clip) -> int | None:
    """Return 0 for frames in memory, and by default in a script, whose new processes would run it again."""
    if isinstance(what, Clip):
        return 0
    is_script = hasattr(sys.modules["__main__"], "__file__")
    return 0 if workers is None and is_script else workers


def _export(
    store: Path,
    features: Path,
    encoder: FilePath | None,
    config: EmbedConfig,
    au_model: FilePath,
    workers: int,
    replace: bool,
    display: Display,
) -> EmbedResult:
    bar = display.bar("Embedding", "frames")

    def notify(progress: EmbedProgress) -> None:
        bar(progress.n_frames, progress.n_frames_total)
        bar.note(failed=len(progress.failures))

    loaded = open_own(encoder, config.seed)
    model = au_model if isinstance(au_model, str) else Path(au_model)
    return embed(store, features, loaded, config, au_model=model, workers=workers, replace=replace, notify=notify)


def _check(result: PreprocessResult | EmbedResult, n_clips: int) -> None:
    """Raise if every clip failed; warn of those that did, and of what is unusual."""
    if result.failures and not n_clips:
        raise InputError(result.failures[0].reason)
    for failure in (*result.failures, *result.warnings):
        text = f"{failure.name}: {failure.reason}" if isinstance(failure, Failure) else str(failure)
        warnings.warn(text, stacklevel=3)
