"""The features of frames that arrive one by one, with the columns and numbers of an export of a store.

What needs the whole clip is left out: AUs are neither smoothed nor moved to a person's own zero, and AU45 is found as
the eyes close, see ``BlinkFollower``. Embeddings agree with those of ``embed`` to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from tclr.pipeline.au import CLOSED, BlinkFollower
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.export.au_source import AUTO
from tclr.pipeline.export.frames import predict_rows
from tclr.pipeline.export.plan import plan_export
from tclr.pipeline.export.sight import Sight, hide
from tclr.pipeline.export.table import build_table, spread
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.config import AlignConfig, EmbedConfig

NAME = "frames"
"""Subject and clip of frames that are in no file."""
Block = Mapping[str, np.ndarray]
"""Rows as a store holds them, by dataset, see ``CLIP_FIELDS``."""


class BlockStore(Store):
    """Some rows in memory that are read like a store with one clip."""

    def __init__(self, block: Block, align: AlignConfig, rotation: int, size_px: tuple[int, int] = (0, 0)) -> None:
        self.root, self.damage, self.paths = Path(NAME), {}, {}
        self._block = block
        attrs = SimpleNamespace(rotation=rotation, width=size_px[0], height=size_px[1])
        root = SimpleNamespace(align=align)
        info = ClipInfo("folder", NAME, NAME, len(block["status"]), cast(Any, attrs), cast(Any, root))
        self.clips = [info]

    def close(self) -> None:
        """Do nothing: no file is open."""

    def fields(self, info: ClipInfo) -> list[str]:
        """Return the names of the datasets, sorted."""
        return sorted(self._block)

    def names(self, info: ClipInfo, field_name: str) -> list[str]:
        """Return the names of the blendshapes; nothing is labelled."""
        return list(BLENDSHAPE_NAMES) if field_name == "blendshapes" and field_name in self._block else []

    def read(self, info: ClipInfo, field_name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return a copy of rows of a dataset."""
        return self._block[field_name][start:stop].copy()

    def read_crops_at(self, info: ClipInfo, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return some crops."""
        return self._block["frames"][rows]


class LiveExport:
    """Turns blocks of rows, in order, into tables of features.

    Parameters
    ----------
    nothing : mapping
        A block without rows, which shows what there is to read.
    align : AlignConfig
        How the crops are cut.
    encoder, config, au_model
        As for ``embed``; of ``config``, smoothing and centring do not apply.
    rotation : int
        Degrees clockwise by which the pictures were turned to detect faces.

    Raises
    ------
    StoreError, ModelError, SettingError
        As ``embed``.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> from tclr.schemas.config import AlignConfig, EmbedConfig
    >>> names = ("timestamp", "source_frame", "status", "track", "score", "sharpness", "bbox", "landmarks", "pose")
    >>> with Store(Path("store")) as store:
    ...     block = {name: store.read(store.clips[0], name, 0, 4) for name in (*names, "blendshapes")}
    ...     block["frames"] = store.read_crops(store.clips[0], 0, 4)
    >>> nothing = {name: rows[:0] for name, rows in block.items()}
    >>> live = LiveExport(nothing, AlignConfig(size=32), None, EmbedConfig(embedding="none", hidden="keep"))
    >>> live.table(block, (640, 480))["AU12"].null_count, live.source.name.partition(":")[0]
    (0, 'face')
    """

    def __init__(
        self,
        nothing: Block,
        align: AlignConfig,
        encoder: LoadedEncoder | None,
        config: EmbedConfig,
        au_model: str | Path = AUTO,
        rotation: int = 0,
    ) -> None:
        self._align, self._rotation, self._config = align, rotation, config
        self._plan = plan_export(BlockStore(nothing, align, rotation), encoder, config, au_model)
        self.source = source = self._plan.source
        self._blinks = None
        if source.adds_blinks:
            closed = source.predicted_aus.index(CLOSED)
            self._blinks = BlinkFollower(closed, float(source.predicted_threshold[closed]))

    def table(self, block: Block, size_px: tuple[int, int]) -> pa.Table:
        """Return the features of the next rows of pictures of a width and height; null without a face."""
        store = BlockStore(block, self._align, self._rotation, size_px)
        (info,) = store.clips
        rows, sight = np.flatnonzero(store.face_mask(info)), Sight.of_nothing(info.n_frames)
        crops = store.read_crops_at(info, rows) if self._plan.sees or self._plan.encoder is not None else None
        embeddings = np.zeros((len(rows), 0), np.float32)
        if crops is not None and self._plan.encoder is not None:
            embeddings = self._plan.encoder.embed_now(crops)
        if crops is not None and self._plan.sees and len(rows):
            sight.look(rows, crops)
        predicted = predict_rows(self.source, store, info, rows, embeddings)
        predicted = predicted.map(lambda values: spread(values, rows, info.n_frames))
        if self._config.hidden == "null":
            predicted = hide(predicted, sight.visible, self.source.predicted_aus)
        if self._blinks is not None:
            predicted = self._blinks.add(predicted, block["timestamp"])
        embeddings = spread(embeddings, rows, info.n_frames)
        return build_table(store, info, self._plan.schema, embeddings, predicted, sight, self.source, ())
