"""FACS Action Units: their names, and those that each dataset's protocol scores.

Columns are named as in Py-Feat and OpenFace: ``AU01``, two digits. Names are from Ekman, Friesen and Hager, "Facial
Action Coding System" (2002); the sets of AUs are those that published results on each dataset score.
"""

from __future__ import annotations

AU_NAMES: dict[int, str] = {
    1: "Inner Brow Raiser",
    2: "Outer Brow Raiser",
    4: "Brow Lowerer",
    5: "Upper Lid Raiser",
    6: "Cheek Raiser",
    7: "Lid Tightener",
    9: "Nose Wrinkler",
    10: "Upper Lip Raiser",
    11: "Nasolabial Deepener",
    12: "Lip Corner Puller",
    13: "Sharp Lip Puller",
    14: "Dimpler",
    15: "Lip Corner Depressor",
    16: "Lower Lip Depressor",
    17: "Chin Raiser",
    18: "Lip Pucker",
    19: "Tongue Show",
    20: "Lip Stretcher",
    22: "Lip Funneler",
    23: "Lip Tightener",
    24: "Lip Pressor",
    25: "Lips Part",
    26: "Jaw Drop",
    27: "Mouth Stretch",
    28: "Lip Suck",
    43: "Eyes Closed",
    45: "Blink",
}

LATERAL_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 20, 43)
"""AUs that FACS codes for each side of the face."""
REGIONS = ("brows", "eyes", "nose", "mouth", "chin")
"""Regions of a face whose visibility is judged."""
AUS_OF_REGION: dict[str, tuple[int, ...]] = {
    "brows": (1, 2, 4),
    "eyes": (5, 6, 7, 43, 45),
    "nose": (9,),
    "mouth": (10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28),
    "chin": (17,),
}
"""AUs that cannot be seen where a region is hidden."""
BP4D_AUS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
DISFA_AUS = (1, 2, 4, 6, 9, 12, 25, 26)
EMOTIONET_AUS = (1, 2, 4, 5, 6, 9, 12, 17, 20, 25, 26, 43)

PRESENT, ABSENT, UNKNOWN = 1, 0, -1
"""Occurrence codes in the store, int8."""
MAX_INTENSITY = 5.0
"""Largest intensity in the store: 0 is absent, 5 is FACS's E."""
PRESENT_FROM = 2.0
"""Least intensity that counts as present, as in published results on DISFA."""


def au_title(column: str) -> str:
    """Return the column of an Action Unit with its name.

    >>> au_title("AU12")
    'AU12 Lip Corner Puller'
    """
    return f"{column} {AU_NAMES.get(int(column[2:]), '')}".strip()


def au_column(number: int) -> str:
    """Return the column name of an Action Unit, given its FACS number from 1 to 99.

    >>> au_column(1)
    'AU01'
    """
    return f"AU{number:02d}"
