"""The source of an export's AU predictions: a head, a bundled model, mediapipe's blendshapes, or none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.au import (
    BLINK,
    BOX,
    CLOSED,
    FACE,
    MAPPED_AUS,
    MAPPING_VERSION,
    MARGIN,
    SHAPE,
    TEMPLATE,
    THRESHOLD,
    WITHOUT_ENCODER,
    AuHead,
    Prediction,
    add_blinks,
    blendshape_rows,
    describe_at,
    load_head,
    predict_from_blendshapes,
)
from tclr.pipeline.geometry import N_LANDMARKS
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.action_units import LATERAL_AUS, au_column
from tclr.schemas.errors import ModelError, SettingError, StoreError, suggestion
from tclr.schemas.features import SIDE_ENDINGS

AUTO, BLENDSHAPES = "auto", "blendshapes"
SHIPPED = {"face": FACE, "shape": SHAPE, "box": BOX}
"""Heads that come with tclr, by name. ``face`` did best on real faces (docs/model-card.md)."""
WITH_CROPS = ("face", "box")
"""Those that read crops, by the bundled encoder."""
NAMES = (AUTO, *SHIPPED, BLENDSHAPES)


@dataclass(frozen=True)
class AuSource:
    """The source of AU predictions: its ``name`` in the metadata, the AUs, their thresholds, the head if there is one.

    Predictions of a clip are smoothed over ``smooth_s`` seconds, see ``smooth``. AU45 follows from AU43 where the
    source has only the latter, see ``add_blinks``.
    """

    name: str
    predicted_aus: tuple[str, ...] = ()
    predicted_threshold: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    smooth_s: float = 0.0
    head: AuHead | None = None

    @property
    def adds_blinks(self) -> bool:
        """Whether AU45 is derived."""
        return CLOSED in self.predicted_aus and BLINK not in self.predicted_aus

    @property
    def au_names(self) -> tuple[str, ...]:
        """All AUs: those predicted, then AU45 if it is derived."""
        return (*self.predicted_aus, BLINK) if self.adds_blinks else self.predicted_aus

    @property
    def threshold(self) -> np.ndarray:
        """Probability from which each of ``au_names`` counts as present, (A,) float32."""
        if not self.adds_blinks:
            return self.predicted_threshold
        return np.append(self.predicted_threshold, self.predicted_threshold[self.predicted_aus.index(CLOSED)])

    def finish(self, predicted: Prediction, timestamps: np.ndarray | None) -> Prediction:
        """Return a clip's predictions for ``au_names``; ``timestamps`` are None for stills."""
        if not self.adds_blinks:
            return predicted
        closed = self.predicted_aus.index(CLOSED)
        return add_blinks(predicted, closed, float(self.predicted_threshold[closed]), timestamps)

    @property
    def intensity_aus(self) -> list[str]:
        """The AUs that also have a predicted intensity."""
        if self.head is None:
            return []
        known = zip(self.predicted_aus, self.head.readout.has_intensity, strict=True)
        names = [name for name, has in known if has]
        return [*names, BLINK] if self.adds_blinks and CLOSED in names else names

    @property
    def side_aus(self) -> list[str]:
        """The AUs that also have an intensity of the left and of the right side."""
        if self.head is None or not self.head.has_sides:
            return []
        lateral = {au_column(number) for number in LATERAL_AUS}
        return [name for name in self.intensity_aus if name in lateral]

    @property
    def columns(self) -> set[str]:
        """Names of all columns that hold its predictions."""
        endings = ("", "_c", "_r", *SIDE_ENDINGS)
        return {name + ending for name in self.au_names for ending in endings}

    @property
    def needs_encoder(self) -> bool:
        """Whether predictions are made from embeddings."""
        return self.head is not None and self.head.inputs not in WITHOUT_ENCODER

    def predict(self, store: Store, info: ClipInfo, rows: np.ndarray, embeddings: np.ndarray) -> Prediction:
        """Return ``predicted_aus`` of some rising rows with a face, not smoothed; (n, E) embeddings are given."""
        if self.head is not None:
            return self.head.predict_rows(store, info, rows, embeddings)
        if not (self.predicted_aus and store.names(info, "blendshapes")):
            return Prediction.unknown(len(rows), len(self.predicted_aus))
        probability = predict_from_blendshapes(describe_at(blendshape_rows, store, info, rows))
        return Prediction(probability, np.full_like(probability, np.nan))

    def provenance(self) -> dict[str, Any]:
        """Return the source's part of a file's metadata."""
        head = None
        if self.head is not None:
            names = ("kind", "digest", "inputs", "smooth_s", "encoder_digest", "started_from", "settings")
            head = {name: getattr(self.head, name) for name in names}
        thresholds = {name: float(t) for name, t in zip(self.au_names, self.threshold, strict=True)}
        return {"au_source": self.name, "au_head": head, "au_thresholds": thresholds, "au_smooth_s": self.smooth_s}


def fits_bundled(store: Store) -> bool:
    """Return whether all crops are aligned like those that the bundled models learnt from."""
    aligned = (info.root.align for info in store.clips)
    return all((align.template, align.margin) == (TEMPLATE, MARGIN) for align in aligned)


def _choose_bundled(store: Store, has_encoder: bool) -> Path | None:
    """Return the best bundled head for a store; None if none fits."""
    has_crops = store.has_frames and fits_bundled(store) and not has_encoder
    if store.has_blendshapes() and store.read(store.clips[0], "landmarks", 0, 1).shape[1] == N_LANDMARKS:
        return FACE if has_crops else SHAPE
    return BOX if has_crops else None


def resolve_au_model(store: Store, au_model: str | Path, has_encoder: bool) -> Path | None:
    """Return the head's file that a name means, None for blendshapes.

    Parameters
    ----------
    store : Store
        The store.
    au_model : str or Path
        One of ``NAMES``, or a head's file. ``auto`` means ``face``; ``shape`` if the user gave an encoder or there are
        no crops of its template and margin; ``box`` if there are such crops but no blendshapes.
    has_encoder : bool
        Whether the user gave an encoder.

    Raises
    ------
    ModelError
        If it is no known name and there is no such file.
    SettingError
        If ``face`` or ``box`` is combined with another encoder.
    StoreError
        If crops have another template or margin than theirs, or blendshapes or crops are missing.
    """
    if au_model == BLENDSHAPES:
        return None
    if au_model == AUTO:
        return _choose_bundled(store, has_encoder)
    if au_model not in SHIPPED:
        return _require_head(Path(au_model))
    if has_encoder and au_model in WITH_CROPS:
        raise SettingError(
            f"Expected no encoder for --au-model {au_model}, which brings its own, but got one. Leave --encoder "
            "out, or give --au-model shape."
        )
    if au_model in WITH_CROPS and not fits_bundled(store):
        raise StoreError(
            f"Expected crops of template {TEMPLATE} and margin {MARGIN:g} for --au-model {au_model}, which learnt "
            f"from such crops, but {store.root} has others. Run 'tclr preprocess' with the defaults, or give another "
            "model."
        )
    if au_model in WITH_CROPS:
        store.require_frames(store.clips)
    if au_model != "box":
        store.require_blendshapes("Give --au-model box.")
    return SHIPPED[str(au_model)]


def _require_head(path: Path) -> Path:
    """Return the path of a head; raise ``ModelError`` with the known names if there is no such file."""
    if not path.exists():
        raise ModelError(
            f"Expected a head of 'tclr fit-au' or the name of a model, but found nothing at {path}. Known names: "
            f"{', '.join(NAMES)}.{suggestion(str(path), NAMES)}"
        )
    return path


def choose_au_source(store: Store, au_model: Path | None, smooth_s: float | None) -> AuSource:
    """Return the head in a file if one is given, else blendshapes if the store has them, else no source.

    ``smooth_s`` is in seconds; by default it is the head's own, and 0 for blendshapes.

    Raises
    ------
    ModelError
        If the head cannot be read.
    """
    if au_model is not None:
        head = load_head(au_model)
        chosen_s = head.smooth_s if smooth_s is None else smooth_s
        name = next((name for name, path in SHIPPED.items() if path == au_model), "head")
        return AuSource(f"{name}:{head.digest}", head.au_names, head.threshold, chosen_s, head)
    if store.has_blendshapes():
        thresholds = np.full(len(MAPPED_AUS), THRESHOLD, np.float32)
        return AuSource(f"blendshapes:v{MAPPING_VERSION}", MAPPED_AUS, thresholds, smooth_s or 0.0)
    return AuSource("none")
