"""AU predictions from mediapipe's blendshapes, without any training: a documented FACS mapping.

Each AU is a weighted sum of blendshapes, scaled so that a clear action comes near 1, and clipped to 0..1. Which
blendshapes follows from what each AU's muscle does to the face (Ekman, Friesen and Hager, FACS, 2002) and what ARKit's
blendshapes of that name describe. Among two or three plausible sums we took the one with the best ROC AUC on 40
rendered people; the test sets had no part in it. The sums rank frames better than they measure intensity. AUs without a
suitable blendshape are left out: 11, 13, 16, 19 and 27 have none, and mediapipe's model never moves noseSneer (AU09)
and hardly ever mouthDimple (AU14).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import InputError

MAPPING_VERSION = 2
THRESHOLD = 0.5
"""An AU is present from this value of the scaled sum on; chosen beforehand, the same for all AUs."""


@dataclass(frozen=True)
class Rule:
    """How one AU follows from blendshapes.

    ``weights`` are by blendshape; ``L/R`` at the end of a name means the mean of the left and right one.
    """

    weights: dict[str, float]
    reason: str


RULES: dict[str, Rule] = {
    "AU01": Rule({"browInnerUp": 1.0}, "frontalis, inner part, lifts the inner brows"),
    "AU02": Rule({"browOuterUpL/R": 1.6}, "frontalis, outer part, lifts the outer brows"),
    "AU04": Rule({"browDownL/R": 4.0}, "corrugator and depressor draw the brows down and together"),
    "AU05": Rule({"eyeWideL/R": 2.5}, "levator palpebrae raises the upper lid"),
    "AU06": Rule(
        {"eyeSquintL/R": 1.2},
        "orbicularis oculi, outer part, narrows the eyes; cheekSquint never moves in this model, so AU06 equals AU07",
    ),
    "AU07": Rule({"eyeSquintL/R": 1.2}, "orbicularis oculi, inner part, tightens the lids"),
    "AU10": Rule({"mouthUpperUpL/R": 1.6}, "levator labii lifts the upper lip"),
    "AU12": Rule({"mouthSmileL/R": 1.2}, "zygomaticus pulls the lip corners up and out"),
    "AU15": Rule({"mouthFrownL/R": 10.0}, "depressor anguli oris pulls the lip corners down; mouthFrown stays small"),
    "AU17": Rule({"mouthShrugLower": 1.4}, "mentalis pushes the chin and lower lip up"),
    "AU18": Rule({"mouthPucker": 1.1}, "incisivii pucker the lips"),
    "AU20": Rule({"mouthStretchL/R": 2.5}, "risorius stretches the lips sideways"),
    "AU22": Rule({"mouthFunnel": 1.5}, "orbicularis oris funnels the lips"),
    "AU23": Rule(
        {"mouthPressL/R": 1.0, "mouthRollLower": 1.0, "mouthRollUpper": 1.0},
        "orbicularis oris tightens the lips",
    ),
    "AU24": Rule({"mouthPressL/R": 1.6, "mouthShrugLower": 0.8}, "orbicularis oris presses the lips together"),
    "AU25": Rule(
        {"jawOpen": 4.0, "mouthLowerDownL/R": 1.6},
        "depressor labii draws the lower lip down, or the jaw drops: the lips part",
    ),
    "AU26": Rule({"jawOpen": 2.0}, "masseter relaxes, the jaw drops"),
    "AU28": Rule({"mouthRollLower": 1.2, "mouthRollUpper": 1.2}, "orbicularis oris sucks the lips over the teeth"),
    "AU43": Rule({"eyeBlinkL/R": 1.2}, "levator palpebrae relaxes, the lids close; AU45, a blink, is a short AU43"),
}  # fmt: skip

MAPPED_AUS: tuple[str, ...] = tuple(RULES)


def rule_weights() -> np.ndarray:
    """Return (52, A) float32 weights of ``MAPPED_AUS``."""
    matrix = np.zeros((len(BLENDSHAPE_NAMES), len(RULES)), np.float32)
    for column, rule in enumerate(RULES.values()):
        for name, weight in rule.weights.items():
            stem = name.removesuffix("L/R")
            names = [stem] if stem == name else [f"{stem}Left", f"{stem}Right"]
            for each in names:
                matrix[BLENDSHAPE_NAMES.index(each), column] += weight / len(names)
    return matrix


def predict_from_blendshapes(blendshapes: np.ndarray) -> np.ndarray:
    """Return AU predictions.

    Parameters
    ----------
    blendshapes : ndarray
        (T, 52) 0..1, NaN where there is no face.

    Returns
    -------
    ndarray
        (T, A) float32 in 0..1 in the order of ``MAPPED_AUS``, NaN where there is no face.

    Raises
    ------
    InputError
        If there are not 52 columns.

    Examples
    --------
    >>> predict_from_blendshapes(np.zeros((10, 52))).shape
    (10, 19)
    """
    if blendshapes.ndim != 2 or blendshapes.shape[1] != len(BLENDSHAPE_NAMES):
        raise InputError(f"Expected blendshapes of shape (n_frames, 52), but got {blendshapes.shape}.")
    return np.clip(blendshapes.astype(np.float32) @ rule_weights(), 0, 1)
