"""Emotions: how well an AU ranks faces whose emotion shows it above those whose emotion does not.

Which emotion shows which AU is EMFACS: Friesen and Ekman, "EMFACS-7: Emotional Facial Action Coding System", University
of California at San Francisco (1983). Emotions in which an AU may or may not be there are left out of its area.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tclr.pipeline.au import Outcomes, score
from tclr.pipeline.tools.evidence.path import Predicted, common_aus
from tclr.pipeline.tools.evidence.resampling import RESAMPLES, to_figure
from tclr.schemas.action_units import ABSENT, PRESENT, UNKNOWN

EMOTIONS = ("anger", "disgust", "fear", "happy", "neutral", "sadness", "surprise")
"""Names of the sub-folders."""
EMFACS: dict[str, tuple[str, str]] = {
    "AU01": ("surprise fear sadness", "happy anger disgust neutral"),
    "AU02": ("surprise", "happy anger disgust sadness neutral"),
    "AU04": ("anger sadness fear", "happy surprise neutral"),
    "AU05": ("surprise fear", "happy disgust sadness neutral"),
    "AU06": ("happy", "surprise anger fear sadness neutral"),
    "AU07": ("anger disgust", "surprise neutral"),
    "AU09": ("disgust", "happy surprise fear sadness neutral"),
    "AU10": ("disgust", "surprise fear sadness neutral"),
    "AU12": ("happy", "anger disgust fear sadness surprise neutral"),
    "AU15": ("sadness", "happy surprise neutral"),
    "AU17": ("anger sadness", "happy surprise neutral"),
    "AU20": ("fear", "surprise anger disgust sadness neutral"),
    "AU23": ("anger", "happy surprise fear neutral"),
    "AU24": ("anger", "happy surprise fear neutral"),
    "AU25": ("surprise happy", "anger sadness neutral"),
    "AU26": ("surprise", "anger sadness disgust neutral"),
}
"""By AU: emotions that show it, and those that do not."""


def label_emotions(emotions: np.ndarray, names: list[str]) -> np.ndarray:
    """Return (N, A) int8 labels of N emotions: 1 where the AU is shown, 0 where it is not, -1 where it is open.

    >>> label_emotions(np.array(["happy", "fear", "disgust"]), ["AU12", "AU06"]).tolist()
    [[1, 1], [0, 0], [0, -1]]
    """
    labels = np.full((len(emotions), len(names)), UNKNOWN, np.int8)
    for column, name in enumerate(names):
        for part, code in zip(EMFACS[name], (PRESENT, ABSENT), strict=True):
            labels[np.isin(emotions, part.split()), column] = code
    return labels


def _areas(emotions: np.ndarray, probability: np.ndarray, names: list[str], resamples: int) -> dict[str, Any]:
    """Return the ROC-AUC of (N, A) probabilities by AU, and their mean; intervals resample pictures."""
    unknown = np.full(probability.shape, np.nan)
    decision = np.full(probability.shape, UNKNOWN, np.int8)
    pictures = np.arange(len(emotions))
    labels = label_emotions(emotions, names)
    outcomes = Outcomes(labels, decision, probability, unknown, unknown, pictures, np.zeros(len(emotions), int))
    scored = score(outcomes, resamples=resamples)["roc_auc"]["pooled"]
    return {
        "aus": {name: to_figure(one) for name, one in zip(names, scored.aus, strict=True)},
        "mean": to_figure(scored.mean),
    }


def judge_emotions(
    predicted: dict[str, Predicted], emotion_of: Mapping[str, str], resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return ROC-AUC by model and AU, with the mean over those AUs that all models have.

    Parameters
    ----------
    predicted : dict
        Features of stills by model, with a column ``file``.
    emotion_of : mapping
        The emotion of each file, one of ``EMOTIONS``.
    resamples : int
        Resamples of the pictures.
    """
    common = [name for name in common_aus(predicted) if name in EMFACS]
    result: dict[str, Any] = {"common": common, "models": {}}
    for model, one in predicted.items():
        emotions = np.array([emotion_of[name] for name in file_names(one)])
        others = [name for name in one.au_names if name in EMFACS and name not in common]
        areas = _areas(emotions, one.values(common), common, resamples)
        if others:
            areas["aus"] |= _areas(emotions, one.values(others), others, resamples)["aus"]
        result["models"][model] = areas
        names, counts = np.unique(emotions[faces_of(one)], return_counts=True)
        result["n_faces"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
        result["n_pictures"] = len(emotions)
    return result


def file_names(one: Predicted) -> list[str]:
    """Return the name of each row's picture, without folders."""
    return [str(name).rsplit("/", 1)[-1] for name in one.table["file"]]


def faces_of(one: Predicted) -> np.ndarray:
    """Return (N,) bool: the rows with a face."""
    return np.asarray(np.isfinite(one.values(list(one.au_names))).any(axis=1))
