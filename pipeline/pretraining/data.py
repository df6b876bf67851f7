"""The data of a run: training and held-out subjects of a store, and their tuples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tclr.pipeline.pretraining.geometry import clip_targets
from tclr.pipeline.store import ClipInfo, Store, hash_data, leave_out, split_subjects
from tclr.pipeline.tuples import TargetReader, TupleDataset, index_clips
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import SettingError

logger = logging.getLogger("tclr.pretrain")


@dataclass(frozen=True)
class TrainingData:
    """Tuples of a run and their origin.

    ``train_tuples`` are redrawn every epoch. ``watched_tuples`` are fixed tuples of the held-out subjects, or of the
    training subjects if nobody is held out. ``data_hash`` identifies the store's clips, ``detect_hash`` and
    ``align_hash`` the settings that they were made with.
    """

    dataset: str
    train_subjects: list[str]
    val_subjects: list[str]
    train_tuples: TupleDataset
    watched_tuples: TupleDataset
    detect_hash: str
    align_hash: str
    data_hash: str


def open_data(store: Path, config: PretrainConfig) -> TrainingData:
    """Split the subjects of a store and find their tuples.

    Raises
    ------
    StoreError, InputError
        If the store has no crops, crops of several sizes, or no clip that is long enough for a tuple.
    SettingError
        If ``leave_out`` matches no or all subjects, or no loss is left to train on.
    """
    with Store(store) as opened:
        opened.require_frames(opened.clips)
        wanted = leave_out(opened.subjects, config.leave_out, store)
        usable = sorted({info.subject for info in index_clips(opened, wanted, config)})
        train_subjects, val_subjects = split_subjects(usable, config.val_share, config.seed)
        opened.crop_size()  # raises here if sizes differ, rather than during an epoch
        root = opened.clips[0].root
        data_hash = hash_data(opened.clips)
        au_names = sorted({name for info in opened.clips for name in opened.names(info, "au")})
    find_tuples = partial(TupleDataset, store, config=config, read_targets=choose_targets(config, au_names))
    data = TrainingData(
        dataset=root.dataset,
        train_subjects=train_subjects,
        val_subjects=val_subjects,
        train_tuples=find_tuples(train_subjects, anchors_per_clip=config.anchors_per_clip),
        watched_tuples=find_tuples(val_subjects or train_subjects, anchors_per_clip=0),
        detect_hash=root.detect_hash,
        align_hash=root.align_hash,
        data_hash=data_hash,
    )
    _require_losses(store, config, data.train_tuples.n_targets)
    return data


def _require_losses(store: Path, config: PretrainConfig, n_targets: int) -> None:
    """Check that there is a loss to train on."""
    if config.supervision_weight and not n_targets:
        raise SettingError(
            f"Expected AU labels in {store} for 'supervision_weight', but it has none. Give a store with labels, or "
            "set the weight to 0."
        )
    if not (config.ranking_weight or n_targets):
        raise SettingError(
            f"Expected a loss, but 'ranking_weight' is 0, and 'geometry_weight' is 0 or {store} has no landmarks. "
            "Set one of the weights."
        )
    if config.geometry_weight and not n_targets:
        logger.warning("%s has no landmarks of a known kind: the geometry loss is left out.", store)


def choose_targets(config: PretrainConfig, au_names: Sequence[str]) -> TargetReader | None:
    """Return the reader of the targets that the settings need, or None.

    ``au_names`` are the AUs with labels anywhere in the store; a clip may have labels for some or none of them.
    """
    if config.supervision_weight:
        return partial(label_targets, tuple(au_names))
    return clip_targets if config.geometry_weight else None


def label_targets(au_names: Sequence[str], store: Store, info: ClipInfo) -> np.ndarray:
    """Return a clip's labels of some AUs, (T, A) float32: 0, 1, or NaN where unknown or not labelled."""
    labels = store.read_columns(info, "au", au_names)
    return np.where(labels == UNKNOWN, np.nan, labels).astype(np.float32)
