"""A tiny store whose content is known: what changes with time can be ranked, what is labelled can be seen."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tclr.pipeline.store import ClipLayout, assemble_subject, root_attrs, write_part
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.store import CLIP_FIELDS, NO_TRACK, RecordingAttrs, Status


def _block(rng, n_frames, size, au_names, no_face, layout):
    """Rows of one clip: a grey level that rises with time, and a bright square where each AU is present."""
    block = {
        name: np.full((n_frames, *shape), CLIP_FIELDS[name].missing or 0, CLIP_FIELDS[name].dtype)
        for name, shape in layout.shapes().items()
    }
    time = np.arange(n_frames)
    labels = (np.sin(time[:, None] / 4 + rng.uniform(0, 6, len(au_names))) > 0.2).astype(np.int8)
    frames = np.full((n_frames, size, size, 3), 40, np.float64) + rng.normal(0, 4, (n_frames, size, size, 3))
    frames[:, : size // 2] += 120 * (time / n_frames)[:, None, None, None]
    width = size // max(len(au_names), 1)
    for column in range(len(au_names)):
        square = np.s_[labels[:, column] == 1, size // 2 :, column * width : (column + 1) * width]
        frames[square] += 90
    block["frames"] = frames.clip(1, 255).astype(np.uint8)
    block["timestamp"], block["source_frame"] = time / 25, time + 100
    block["score"][:], block["sharpness"][:], block["bbox"][:] = 0.9, 50, (1, 2, 3, 4)
    block["landmarks"][:] = rng.random(block["landmarks"].shape)
    block["transform"][:], block["pose"][:] = np.eye(2, 3), (0.1, 0.2, 0.3)
    block["blendshapes"][:] = rng.random(block["blendshapes"].shape)
    if au_names:
        block["au"][:] = labels
    if "au_intensity" in block:
        block["au_intensity"][:] = 3 * labels + 0.5
    block["track"][:] = 0
    for row in no_face:
        block["status"][row], block["track"][row] = Status.no_face, NO_TRACK
        for name in ("score", "sharpness", "bbox", "landmarks", "transform", "pose", "blendshapes"):
            block[name][row] = np.nan
        block["frames"][row] = 0
    return block


@pytest.fixture(scope="session")
def one_thread():
    """Let torch use one thread: where processes share cores, a second makes a step of these sizes 30 times slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_store() -> Callable[..., Path]:
    """Return a function that writes a small store and returns its path."""

    def make(
        path,
        *,
        n_subjects=3,
        n_clips=1,
        n_frames=40,
        size=32,
        au_names=("AU01", "AU12"),
        no_face=(),
        seed=0,
        intensity=False,
        frames=True,
        n_landmarks=68,
    ):
        detect, align = DetectConfig(), AlignConfig(size=size, frames=frames)
        layout = ClipLayout(align, n_landmarks, BLENDSHAPE_NAMES, tuple(au_names), tuple(au_names) if intensity else ())
        rng = np.random.default_rng(seed)
        for subject in (f"F{number + 1:03d}" for number in range(n_subjects)):
            attrs = root_attrs("bp4d", subject, detect, align, "0")
            parts = {}
            for clip in (f"T{number + 1}" for number in range(n_clips)):
                part = path / "parts" / f"{subject}_{clip}.h5"
                with write_part(part, attrs) as file:
                    writer = file.add_clip(clip, layout)
                    writer.append(_block(rng, n_frames, size, au_names, no_face, layout))
                    media = {"source": f"{subject}/{clip}", "source_sha256": f"{seed}", "source_fingerprint": "f"}
                    sizes = {"fps": 25.0, "width": 64, "height": 64, "detector": "none", "warning": ""}
                    sizes |= {"source_clip": clip, "n_people": 1, "reduction": 1}
                    writer.finish(RecordingAttrs(**media, **sizes))
                parts[clip] = (part,)
            assemble_subject(path / "subjects" / f"{subject}.h5", parts, attrs)
        return path

    return make


@pytest.fixture(scope="session")
def make_frames() -> Callable[..., Any]:
    """Return a function that makes labelled frames of (n, D) features and (n,) or (n, A) labels.

    Each frame is a subject of its own unless told.
    """
    from tclr.pipeline.au import LabelledFrames

    def make(x, y, *, intensities=None, subjects=None, timestamps=None):
        y = np.asarray(y, np.int8).reshape(len(x), -1)
        unknown = np.full(y.shape, np.nan, np.float32)
        numbers = np.arange(len(x))
        return LabelledFrames(
            Path("store"),
            [f"AU{column + 1:02d}" for column in range(y.shape[1])],
            np.asarray(x, np.float32),
            y,
            unknown if intensities is None else np.asarray(intensities, np.float32),
            numbers.astype(str) if subjects is None else subjects,
            np.full(len(x), "T1"),
            numbers,
            numbers / 25 if timestamps is None else timestamps,
        )

    return make


@pytest.fixture(scope="session")
def relabel() -> Callable[[Path, Callable[[str, np.ndarray], None]], None]:
    """Return a function that applies ``change(subject, labels)`` to every clip's (T, A) labels in place."""

    def apply(store, change):
        for path in sorted((store / "subjects").glob("*.h5")):
            with h5py.File(path, "r+") as file:
                for clip in file["clips"].values():
                    labels = clip["au"][:]
                    change(path.stem, labels)
                    clip["au"][:] = labels

    return apply


@pytest.fixture(scope="session")
def cut_by_edit_list() -> Callable[[Path, int, int], None]:
    """Return a function that has an MP4 of 25 frames/s with B-frames show frames start to stop, as phones trim."""

    def cut(path: Path, start: int, stop: int) -> None:
        data = bytearray(path.read_bytes())
        entry = data.index(b"elst") + 12
        (media_time,) = struct.unpack_from(">i", data, entry + 4)
        struct.pack_into(">ii", data, entry, 40 * (stop - start), media_time + 512 * start)
        path.write_bytes(data)

    return cut


@pytest.fixture(scope="session")
def moving_blocks() -> Callable[[int], list[np.ndarray]]:
    """Return a function that gives n frames, 96 x 64, of blocks that drift, so that frames need their references."""
    blocks = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    image = blocks.repeat(8, axis=0).repeat(8, axis=1)
    return lambda n_frames: [np.roll(image, 3 * i, axis=1) for i in range(n_frames)]
