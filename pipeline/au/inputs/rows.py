"""Functions that return what a head reads of a clip's frames, block by block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tclr.pipeline.au.inputs.shape import SHAPE_DIM, describe_shape
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.errors import SettingError

FAR = 16
"""Rows further apart than this are read apart, nearer ones with the rows between them."""

Describe = Callable[[Store, ClipInfo, int, int], np.ndarray]
"""Returns (n, D) float32 of rows start to stop of a clip."""


def no_rows(store: Store, info: ClipInfo, start: int, stop: int) -> np.ndarray:
    """Return no numbers, (n, 0) float32: for heads that read crops, and where labels are enough.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     no_rows(store, store.clips[0], 0, 4).shape
    (4, 0)
    """
    return np.zeros((stop - start, 0), np.float32)


def embed_rows(encoder: LoadedEncoder) -> Describe:
    """Return the function that embeds rows of a clip.

    Examples
    --------
    >>> from tclr.pipeline.encoder import load_encoder
    >>> from tclr.pipeline.store import Store
    >>> read = embed_rows(load_encoder("encoder.safetensors"))
    >>> with Store(Path("store")) as store:
    ...     read(store, store.clips[0], 0, 4).shape
    (4, 32)
    """
    return lambda store, info, start, stop: encoder.embed(store.read_crops(info, start, stop))


def landmark_rows(store: Store, info: ClipInfo, start: int, stop: int) -> np.ndarray:
    """Return landmarks in crop pixels, (n, K * 2) float32: the geometry of the face.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     landmark_rows(store, store.clips[0], 0, 4).shape
    (4, 956)
    """
    landmarks = store.read(info, "landmarks", start, stop)[..., :2]
    transform = store.read(info, "transform", start, stop).astype(np.float32)
    placed = np.einsum("tij,tkj->tki", transform[:, :, :2], landmarks) + transform[:, None, :, 2]
    return placed.reshape(len(placed), -1)


def blendshape_rows(store: Store, info: ClipInfo, start: int, stop: int) -> np.ndarray:
    """Return the (n, 52) float32 blendshapes.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     blendshape_rows(store, store.clips[0], 0, 4).shape
    (4, 52)
    """
    return store.read(info, "blendshapes", start, stop)


def shape_sides(store: Store, info: ClipInfo, start: int, stop: int) -> np.ndarray:
    """Return the shape of both sides of the face, (n, 2, 1538) float32, see ``describe_shape``; NaN without a face."""
    out = np.full((stop - start, 2, SHAPE_DIM), np.nan, np.float32)
    face = store.face_mask(info, start, stop)
    landmarks, blendshapes = (store.read(info, name, start, stop)[face] for name in ("landmarks", "blendshapes"))
    out[face] = describe_shape(landmarks, blendshapes)
    return out


def shape_rows(store: Store, info: ClipInfo, start: int, stop: int) -> np.ndarray:
    """Return the shape of the face without head pose, (n, 1538) float32: the mean over both sides.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     shape_rows(store, store.clips[0], 0, 4).shape
    (4, 1538)
    """
    return shape_sides(store, info, start, stop).mean(axis=1)


WITHOUT_ENCODER: dict[str, Describe] = {"blendshapes": blendshape_rows, "shape": shape_rows}
"""Inputs of heads that need no encoder, by name."""


def describe_by(inputs: str, encoder: LoadedEncoder | None) -> Describe:
    """Return the function that reads a head's inputs.

    Parameters
    ----------
    inputs : str
        ``embedding``, ``blendshapes``, ``both`` (embedding, then blendshapes), ``shape``, or ``face`` (shape, then
        embedding).
    encoder : LoadedEncoder or None
        Source of embeddings; ignored where there are none.

    Raises
    ------
    SettingError
        If an encoder is needed and there is none.

    Examples
    --------
    >>> describe_by("blendshapes", None) is blendshape_rows
    True
    """
    if inputs in WITHOUT_ENCODER:
        return WITHOUT_ENCODER[inputs]
    if encoder is None:
        raise SettingError(f"Expected an encoder for a head that reads {inputs!r}, but got none. Give --encoder.")
    embed = embed_rows(encoder)
    if inputs == "embedding":
        return embed
    parts = (embed, blendshape_rows) if inputs == "both" else (shape_rows, embed)
    return lambda store, info, start, stop: np.concatenate([part(store, info, start, stop) for part in parts], axis=1)


def describe_at(describe: Describe, store: Store, info: ClipInfo, rows: np.ndarray) -> np.ndarray:
    """Return the description of some rising rows of a clip, (n, D) float32, in order; far ones are read apart.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     describe_at(blendshape_rows, store, store.clips[0], np.array([1, 9])).shape
    (2, 52)
    """
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > FAR) + 1)
    parts = [describe(store, info, int(run[0]), int(run[-1]) + 1)[run - run[0]] for run in runs]
    return np.concatenate(parts)
