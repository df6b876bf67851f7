"""The goals of the bundled models, and whether the default one reaches them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tclr.pipeline.tools.box import AS_GIVEN
from tclr.pipeline.tools.evidence.motion import AXES
from tclr.pipeline.tools.evidence.path import in_order
from tclr.pipeline.tools.evidence.portraits import CHANGE_LIMIT
from tclr.pipeline.tools.evidence.resampling import UNKNOWN, Figure
from tclr.pipeline.tools.evidence.stills import TWINS


@dataclass(frozen=True)
class Goal:
    """A bound and what was measured; ``note`` says of what, if that is open. Bounds are inclusive unless strict."""

    name: str
    wanted: str
    figure: Figure
    reached: bool
    note: str = ""


def _at_least(name: str, bound: float, figure: Figure, note: str = "") -> Goal:
    value = figure[0]
    return Goal(name, f"at least {bound:.2f}", figure, value is not None and value >= bound, note)


def _at_most(name: str, bound: float, figure: Figure, note: str = "", *, strict: bool = False) -> Goal:
    value = figure[0]
    reached = value is not None and (value < bound if strict else value <= bound)
    return Goal(name, f"{'below' if strict else 'at most'} {bound:.2f}", figure, reached, note)


def _between(name: str, low: float, high: float, figure: Figure) -> Goal:
    value = figure[0]
    return Goal(name, f"{low:.2f} to {high:.2f}", figure, value is not None and low <= value <= high)


def _emotion_goals(part: Mapping[str, Any], model: str) -> Iterator[Goal]:
    yield _at_least("emotions: mean ROC-AUC", 0.72, part["models"][model]["mean"])


def _portrait_goals(part: Mapping[str, Any], model: str) -> Iterator[Goal]:
    calls = part["calls"][model]
    if "neutral" in calls:
        yield _at_most("neutral: mean share called present", 0.03, calls["neutral"]["mean"], strict=True)
        worst = calls["neutral"]["worst"] or {"share": UNKNOWN, "au": ""}
        yield _at_most("neutral: the worst AU", 0.10, worst["share"], worst["au"])
    if "smiling" in calls:
        for au, bound in (("AU12", 0.90), ("AU06", 0.50)):
            yield _at_least(f"smiling: {au} called present", bound, calls["smiling"]["aus"].get(au, UNKNOWN))
    for way, twin in in_order(part["twins"][model], tuple(TWINS)).items():
        yield _at_most(f"same face, {way}: calls that change", CHANGE_LIMIT, twin["changed"])


def _people_goals(part: Mapping[str, Any], model: str) -> Iterator[Goal]:
    own = next(one for one in part["judged"] if one["model"] == model and one["frames"] == AS_GIVEN)
    for metric, name, bound in (("roc_auc", "ROC-AUC", 0.94), ("icc_3_1", "ICC(3,1)", 0.72)):
        yield _at_least(f"people never seen: mean {name}", bound, own["mean"][metric])
    for axis in AXES:
        if axis in part["pose"]:
            yield _between(f"{axis}: slope", 0.95, 1.05, part["pose"][axis]["slope"])
            yield _at_most(f"{axis}: error in degrees", 2.0, part["pose"][axis]["rms_deg"], strict=True)


PARTS = {"emotions": _emotion_goals, "portraits": _portrait_goals, "people": _people_goals}


def judge_goals(parts: Mapping[str, Any], model: str) -> list[Goal]:
    """Return the goals of those parts that were judged; what cannot be measured counts as missed."""
    return [goal for name, part in parts.items() for goal in PARTS[name](part, model)]
