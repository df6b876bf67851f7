"""Videos of people with something before the face for a while, and what of each region can be seen in every frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import replacing
from tclr.pipeline.tools.sight.things import Paints, draw_thing, lay_over, visible_shares
from tclr.pipeline.video import VideoWriter, probe, read_frames
from tclr.schemas.config import DetectConfig

CRF = 20
COVERED = (0.3, 0.85)
"""Part of a clip in which the thing is before the face."""
ARRIVAL = 0.1
"""Part of a clip in which it comes from below; it leaves as fast."""


def write_covered(
    source: Path, store: Store, subjects: Sequence[str], kinds: Sequence[str], paints: Paints, out: Path, seed: int
) -> dict[str, np.ndarray]:
    """Write a copy of each clip of some people with a thing before the face; return the truth by ``KIND/CLIP``.

    ``store`` has the landmarks of the clips of ``source``. Kinds take turns. Videos go to ``out/videos/KIND``, the
    truth to ``out/truth``: (T, 5) float, the visible shares of regions. A clip that exists is not written again.
    """
    infos = {(info.subject, info.clip): info for info in store.clips if info.subject in subjects}
    truths = {}
    for number, clip in enumerate(clip for clip in find_clips(source, "folder") if (clip.subject, clip.clip) in infos):
        info, kind = infos[clip.subject, clip.clip], kinds[number % len(kinds)]
        name = f"{clip.subject}_{clip.clip}"
        path, table = out / "videos" / kind / f"{name}.mp4", out / "truth" / f"{kind}_{name}.npy"
        if not table.is_file():
            for file in (path, table):
                file.parent.mkdir(parents=True, exist_ok=True)
            np.save(table, _write_clip(clip, _follow(store, info), kind, paints, path, [seed, number]))
        truths[f"{kind}/{name}"] = np.load(table)
    return truths


def _follow(store: Store, info: ClipInfo) -> tuple[np.ndarray, np.ndarray]:
    """Return times (n,) and landmarks (n, 478, 2) of the frames with a face."""
    rows = store.face_mask(info)
    return store.read(info, "timestamp")[rows], store.read(info, "landmarks")[rows][..., :2].astype(np.float64)


def _write_clip(
    clip: Clip, followed: tuple[np.ndarray, np.ndarray], kind: str, paints: Paints, path: Path, seed: list[int]
) -> np.ndarray:
    media = probe(clip, DetectConfig().image_fps)
    times, landmarks = followed
    length, truth = times[-1], []
    with replacing(path) as temporary, VideoWriter(temporary, media.width, media.height, crf=CRF) as writer:
        for frame in read_frames(media):
            if frame.image is None:
                continue
            here = _between(times, landmarks, frame.timestamp_s)
            away = _away(frame.timestamp_s / length) * np.linalg.norm(here[454] - here[234])
            image, shape = frame.image, (media.height, media.width)
            opacity: np.ndarray = np.zeros(shape, np.float32)
            if np.isfinite(away):
                rng = np.random.default_rng(seed)  # the same thing in every frame
                layer = draw_thing(kind, shape, here + [0, away], paints, rng)
                image, opacity = lay_over(image, layer), layer[..., 3] / 255
            truth.append(visible_shares(here, opacity))
            writer.write(image, frame.timestamp_s)
    return np.array(truth)


def _between(times: np.ndarray, landmarks: np.ndarray, time_s: float) -> np.ndarray:
    """Return the landmarks (478, 2) at a time, between those of the nearest frames."""
    after = int(np.clip(np.searchsorted(times, time_s), 1, len(times) - 1))
    share = np.clip((time_s - times[after - 1]) / (times[after] - times[after - 1]), 0, 1)
    return (1 - share) * landmarks[after - 1] + share * landmarks[after]


def _away(share: float) -> float:
    """Return how far below its place a thing is at a share of the clip, in face widths; infinite while it is away."""
    begin, end = COVERED
    if not begin - ARRIVAL < share < end + ARRIVAL:
        return np.inf
    return 1.5 * max(0.0, (begin - share) / ARRIVAL, (share - end) / ARRIVAL)
