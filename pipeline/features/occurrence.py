"""How often each AU is present in a folder of features, and which are so often, or so never, that they are doubtful."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tclr.pipeline.features.clips import FeatureClips, values_of
from tclr.schemas.action_units import au_title

OFTEN = 0.8
"""Share of frames above which an AU is doubtful: hardly any action lasts through most of a recording."""
FEWEST_FRAMES = 250
"""Frames below which nothing is said of an AU: ten seconds."""


@dataclass(frozen=True)
class Occurrence:
    """``shares`` 0..1 of ``n_frames`` with a prediction, by AU, on which it is present."""

    n_frames: int
    shares: dict[str, float]

    @property
    def always(self) -> dict[str, float]:
        """AUs that are present in more than ``OFTEN`` of the frames, the most frequent first."""
        often = {name: share for name, share in self.shares.items() if share > OFTEN}
        return dict(sorted(often.items(), key=lambda item: -item[1])) if self.n_frames >= FEWEST_FRAMES else {}

    @property
    def never(self) -> list[str]:
        """AUs that are never present."""
        return [name for name, share in self.shares.items() if share == 0] if self.n_frames >= FEWEST_FRAMES else []

    def warnings(self) -> list[str]:
        """Return what to tell the user, a sentence each.

        >>> print(Occurrence(1000, {"AU01": 0.0, "AU07": 0.9}).warnings()[0])
        AU07 Lid Tightener is present in 90% of the frames that show it: its threshold may not fit these faces or ...
        """
        told = [
            f"{au_title(name)} is present in {100 * share:.0f}% of the frames that show it: its threshold may not fit "
            "these faces or this video. Look before you use it."
            for name, share in self.always.items()
        ]
        return [*told, f"Never present: {', '.join(self.never)}."] if self.never else told


def measure_occurrence(clips: FeatureClips) -> Occurrence:
    """Return how often each AU is present by its column ``AUxx_c``, over all frames with a prediction.

    Examples
    --------
    >>> measure_occurrence(FeatureClips(Path("features"))).n_frames
    32
    """
    columns = [column for column in clips.au_columns if column.endswith("_c")]
    known, present = np.zeros(len(columns)), np.zeros(len(columns))
    for subject, clip in clips.paths if columns else []:
        table = clips.read(subject, clip, columns)
        values = np.stack([values_of(table, column) for column in columns])
        known += np.isfinite(values).sum(axis=1)
        present += np.nansum(values, axis=1)
    shares = {
        column.removesuffix("_c"): float(yes / of)
        for column, yes, of in zip(columns, present, known, strict=True)
        if of
    }
    return Occurrence(int(known.max(initial=0)), shares)
