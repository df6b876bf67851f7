"""``tclr fit-au``: from a store with labels to a head file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.head_file import save_head
from tclr.pipeline.heads import AuScore, fit_head
from tclr.pipeline.labelled import collect_frames, describe_by, no_rows
from tclr.pipeline.store import Store
from tclr.pipeline.subjects import leave_out
from tclr.pipeline.thresholds import hold_out
from tclr.schemas.config import FitAuConfig


@dataclass(frozen=True)
class FitResult:
    """The head's file, its scores, and the AUs that could not be learnt, with the reason.

    ``n_held_out`` counts the subjects that fine-tuning held out; None for other heads.
    """

    path: Path
    scores: list[AuScore]
    left_out: dict[str, str]
    n_subjects: int
    n_folds: int
    n_held_out: int | None


def fit_au(
    store_path: Path,
    encoder: LoadedEncoder | None,
    out: Path,
    config: FitAuConfig,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    fit_progress: Callable[[int, int], None] = lambda done, total: None,
) -> FitResult:
    """Fit an AU head on the labelled frames of a store and write it.

    Parameters
    ----------
    store_path, out : Path
        Store with labels; the ``.safetensors`` file to write.
    encoder : LoadedEncoder or None
        The encoder, frozen unless the head is ``finetune``; a head that reads blendshapes needs none.
    config : FitAuConfig
        Settings.
    progress : callable
        Called with frames embedded and frames in all.
    fit_progress : callable
        Called with steps of the fit done and steps in all.

    Raises
    ------
    InputError
        If there are no labels, or no AU has both present and absent frames.
    SettingError
        If ``leave_out`` fits nobody or all, or the encoder is missing.
    StoreError
        If the head is to read blendshapes, and a clip has none.
    OutputError
        If the file cannot be written.
    """
    with Store(store_path) as store:
        subjects = leave_out(store.subjects, config.leave_out, store_path)
    with Store(store_path, subjects) as store:
        if config.inputs != "embedding":
            store.require_blendshapes("Give --inputs embedding.")
        describe = no_rows if config.head == "finetune" else describe_by(config.inputs, encoder)
        frames = collect_frames(store, describe, config.batch_size, progress)
        root = store.clips[0].root
    head = fit_head(frames, config, None if config.inputs == "blendshapes" else encoder, progress=fit_progress)
    save_head(out, head, {name: root[name] for name in ("align_hash", "dataset")})
    n_subjects = len(np.unique(frames.subjects))
    n_held_out = None
    if config.head == "finetune":
        n_held_out = len(np.unique(frames.subjects[hold_out(frames.subjects, config.folds, config.seed)]))
    return FitResult(out, list(head.scores), head.left_out, n_subjects, min(config.folds, n_subjects), n_held_out)
