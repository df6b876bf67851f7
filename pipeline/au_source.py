"""Where AU predictions of an export come from: a fitted head, mediapipe's blendshapes, or nowhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.blendshape_aus import MAPPED_AUS, MAPPING_VERSION, THRESHOLD, predict_from_blendshapes
from tclr.pipeline.head_file import load_head
from tclr.pipeline.heads import AuHead
from tclr.pipeline.readout import Prediction
from tclr.pipeline.store import Store


@dataclass(frozen=True)
class AuSource:
    """Where AU predictions come from: ``name`` as the metadata say it, the AUs and their thresholds.

    ``smooth_s`` is how a clip's predictions are smoothed, in seconds, see ``smooth``.
    """

    name: str
    au_names: tuple[str, ...] = ()
    threshold: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    smooth_s: float = 0.0
    head: AuHead | None = None

    @property
    def intensity_aus(self) -> list[str]:
        """The AUs whose intensity is predicted, too."""
        if self.head is None:
            return []
        return [name for name, has in zip(self.au_names, self.head.readout.has_intensity, strict=True) if has]

    def predict(self, embeddings: np.ndarray, blendshapes: np.ndarray | None) -> Prediction:
        """Return the predictions of n frames with a face, not smoothed."""
        if self.head is not None:
            return self.head.readout.predict(embeddings)
        if blendshapes is None or not self.au_names:
            return Prediction(*(np.full((len(embeddings), len(self.au_names)), np.nan, np.float32) for _ in range(2)))
        probability = predict_from_blendshapes(blendshapes)
        return Prediction(probability, np.full_like(probability, np.nan))

    def provenance(self) -> dict[str, Any]:
        """Return what the metadata of a file say of it, as JSON has it."""
        head = None
        if self.head is not None:
            names = ("kind", "digest", "smooth_s", "encoder_digest", "started_from", "settings")
            head = {name: getattr(self.head, name) for name in names}
        thresholds = {name: float(t) for name, t in zip(self.au_names, self.threshold, strict=True)}
        return {"au_source": self.name, "au_head": head, "au_thresholds": thresholds, "au_smooth_s": self.smooth_s}


def choose_au_source(store: Store, au_model: Path | None, smooth_s: float | None) -> AuSource:
    """Return the head if one is given, else blendshapes if the store has them, else nothing.

    Parameters
    ----------
    store : Store
        The store.
    au_model : Path or None
        A head's file.
    smooth_s : float or None
        Smoothing in seconds; None takes the head's own, and none for blendshapes.

    Raises
    ------
    ModelError
        If the head cannot be read.
    """
    if au_model is not None:
        head = load_head(au_model)
        chosen_s = head.smooth_s if smooth_s is None else smooth_s
        return AuSource(f"head:{head.digest}", head.au_names, head.threshold, chosen_s, head)
    if all(store.names(info, "blendshapes") for info in store.clips):
        thresholds = np.full(len(MAPPED_AUS), THRESHOLD, np.float32)
        return AuSource(f"blendshapes:v{MAPPING_VERSION}", MAPPED_AUS, thresholds, smooth_s or 0.0)
    return AuSource("none")
