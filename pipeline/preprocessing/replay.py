"""Tracks that a store already has, on the frames of their source: crops are cut from them without detecting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from tclr.pipeline.faces import Face
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.tracking import (
    TrackedFrame,
)
from tclr.pipeline.video import (
    Frame,
)
from tclr.schemas.errors import InputError
from tclr.schemas.store import FACE_STATUSES, TABLE_CHUNK, Status

Tracked = Iterator[tuple[Frame, Mapping[int, TrackedFrame]]]
"""Each frame with the faces in it, by person; the subject is 0."""


def replay_tracks(frames: Iterable[Frame], store: Store, infos: Sequence[ClipInfo], first_row: int = 0) -> Tracked:
    """Yield decoded frames with the faces that a store already has of them.

    Parameters
    ----------
    frames : iterable of Frame
        The clip's frames from ``first_row`` on.
    store : Store
        Where the landmarks are.
    infos : sequence of ClipInfo
        The clips of the people in it.
    first_row : int
        Row of the first frame.

    Raises
    ------
    InputError
        If the source has other frames than the store.
    """
    fields = ["source_frame", "status", "track", "score", "landmarks", "pose"]
    fields += ["blendshapes"] * bool(store.names(infos[0], "blendshapes"))
    blocks: list[dict[str, np.ndarray]] = []
    for position, frame in enumerate(frames):
        place = position % TABLE_CHUNK
        if place == 0:
            row = first_row + position
            blocks = [{name: store.read(info, name, row, row + TABLE_CHUNK) for name in fields} for info in infos]
        if place >= len(blocks[0]["status"]) or blocks[0]["source_frame"][place] != frame.index:
            raise InputError(f"The source of clip {infos[0].name} has changed while it was aligned again. Run again.")
        yield frame, {person: _replay_row(frame, block, place) for person, block in enumerate(blocks)}


def _replay_row(frame: Frame, block: dict[str, np.ndarray], place: int) -> TrackedFrame:
    status = Status(int(block["status"][place]))
    if status not in FACE_STATUSES:
        return TrackedFrame(frame, status)
    shapes = block["blendshapes"][place] if "blendshapes" in block else None
    face = Face(block["landmarks"][place], block["pose"][place], shapes)
    return TrackedFrame(frame, status, float(block["score"][place]), face, int(block["track"][place]))
