"""The page of the evidence, in Markdown: goals first, then one section per part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tclr.pipeline.system import markdown_table
from tclr.pipeline.tools.box import AS_GIVEN, HEADINGS
from tclr.pipeline.tools.evidence.goals import Goal
from tclr.pipeline.tools.evidence.motion import AXES
from tclr.pipeline.tools.evidence.path import in_order
from tclr.pipeline.tools.evidence.portraits import CHANGE_LIMIT
from tclr.pipeline.tools.evidence.resampling import UNKNOWN, Figure
from tclr.pipeline.tools.evidence.stills import TWINS


def figure_text(figure: Figure) -> str:
    """Return ``0.912 (0.900 to 0.921)``, ``-`` for what could not be measured.

    >>> figure_text([-0.0001, -0.1, 0.1]), figure_text([0.5, None, None]), figure_text([None, None, None])
    ('0.000 (-0.100 to 0.100)', '0.500', '-')
    """
    if figure[0] is None:
        return "-"
    value, low, high = ("" if number is None else f"{round(number, 3) + 0.0:.3f}" for number in figure)  # never -0.000
    return f"{value} ({low} to {high})" if low and high else value


def goal_table(goals: Sequence[Goal]) -> str:
    """Return the table of goals."""
    rows = [
        [
            goal.name,
            goal.wanted,
            " ".join(filter(None, [goal.note, figure_text(goal.figure)])),
            "reached" if goal.reached else "**missed**",
        ]
        for goal in goals
    ]
    return markdown_table(["goal", "wanted", "measured", ""], rows)


def by_au(models: Mapping[str, Mapping[str, Figure]], last: Mapping[str, Figure], name: str) -> str:
    """Return a table with a row per AU and a column per model, and a last row called ``name``."""
    aus = sorted({au for figures in models.values() for au in figures})
    rows = [[au, *(figure_text(figures.get(au, UNKNOWN)) for figures in models.values())] for au in aus]
    return markdown_table(["AU", *models], [*rows, [name, *(figure_text(last[model]) for model in models)]])


def _emotions(part: Mapping[str, Any]) -> Iterable[str]:
    counts = ", ".join(f"{count} {name}" for name, count in part["n_faces"].items())
    yield "## Emotions\n"
    yield (
        f"{part['n_pictures']:,} pictures, {sum(part['n_faces'].values()):,} with a face that was found: {counts}. "
        "ROC-AUC of each AU between emotions that show it and those that do not, by EMFACS (Friesen and Ekman 1983). "
        "Chance is 0.5. Intervals resample pictures. The labels are what people saw, and few pictures of an emotion "
        "show all of its AUs.\n"
    )
    models = in_order(part["models"])
    means = {model: one["mean"] for model, one in models.items()}
    yield by_au({model: one["aus"] for model, one in models.items()}, means, f"mean of {len(part['common'])}")
    yield "The mean is over the AUs that all models have. Picture: emotions.png.\n"


def _portraits(part: Mapping[str, Any]) -> Iterable[str]:
    yield "## Neutral and smiling\n"
    yield "Share of pictures on which an AU counts as present. Intervals resample people.\n"
    for label in dict.fromkeys(label for one in part["calls"].values() for label in one):
        calls = {model: one[label] for model, one in in_order(part["calls"]).items() if label in one}
        n = max(one["n"] for one in calls.values())
        yield f"### {label.capitalize()}, {n} pictures with a face\n"
        table = by_au({m: one["aus"] for m, one in calls.items()}, {m: one["mean"] for m, one in calls.items()}, "mean")
        worst = [
            f"{one['worst']['au']}: {figure_text(one['worst']['share'])}" if one["worst"] else "-"
            for one in calls.values()
        ]
        yield table + "| " + " | ".join(["worst AU", *worst]) + " |\n"
    yield "## The same face\n"
    yield (
        "The same pictures as altered copies, through the whole path again: share of all 0/1 calls that differ from "
        f"those on the picture as given. The limit is {CHANGE_LIMIT:.0%}. *lost*: faces that were no longer found.\n"
    )
    yield _twin_table(in_order(part["twins"]))


def _twin_table(models: Mapping[str, Any]) -> str:
    rows = []
    for way in in_order(next(iter(models.values())), tuple(TWINS)):
        cells = [figure_text(one[way]["changed"]) for one in models.values()]
        marked = [
            f"**{cell}**" if (one[way]["changed"][0] or 0) > CHANGE_LIMIT else cell
            for cell, one in zip(cells, models.values(), strict=True)
        ]
        rows.append([way, *marked, str(max(one[way]["lost"] for one in models.values()))])
    return markdown_table([f"limit {CHANGE_LIMIT:.0%}", *models, "lost"], rows) + "\nBold: above the limit.\n"


def _people(part: Mapping[str, Any]) -> Iterable[str]:
    judged = part["judged"]
    first = next(one for one in judged if one["frames"] == AS_GIVEN)
    who = "chosen with --only" if part["by_hand"] else "whom no bundled model has learnt from"
    yield "## People never seen\n"
    yield (
        f"{first['n_frames']:,} frames of {first['n_people']} people {who}; {part['n_left_out']} people of the folder "
        "are left out. Frames are pooled, F1 is at each model's own thresholds, intervals resample people. Means are "
        f"over the {len(part['common'])} AUs that all models have.\n"
    )
    if part["doubts"]:
        yield f"**Doubtful**: {'; '.join(part['doubts'])}.\n"
    frames = list(dict.fromkeys(one["frames"] for one in judged))
    models = list(dict.fromkeys(one["model"] for one in judged))
    by_key = {(one["model"], one["frames"]): one for one in judged}
    for metric, heading in HEADINGS.items():
        rows = [
            [name, str(by_key[models[0], name]["n_people"])]
            + [figure_text(by_key[model, name]["common"][metric]) for model in models]
            for name in frames
        ]
        yield markdown_table([heading, "people", *models], rows)
    yield "### By Action Unit, videos as given\n"
    for metric, heading in HEADINGS.items():
        own = {model: by_key[model, AS_GIVEN] for model in models}
        aus = {model: {au: scores[metric] for au, scores in one["aus"].items()} for model, one in own.items()}
        yield f"{heading}:\n"
        yield by_au(aus, {model: one["mean"][metric] for model, one in own.items()}, "mean of own AUs")
    yield "Picture: people.png.\n"
    yield from _sides(in_order(part["sides"]))
    yield from _pose(part["pose"])


def _sides(models: Mapping[str, Any]) -> Iterable[str]:
    if not models:
        return
    yield "### Left and right\n"
    yield (
        "Left minus right intensity, predicted on true: Pearson's correlation, and the slope of the line. Models "
        "that do not tell the sides apart are not listed.\n"
    )
    aus = sorted({au for one in models.values() for au in one["aus"]})
    header = ["AU", *(f"{model}: {key}" for model in models for key in ("r", "slope"))]
    rows = [
        [
            au,
            *(
                figure_text(one["aus"].get(au, {}).get(key, UNKNOWN))
                for one in models.values()
                for key in ("r", "slope")
            ),
        ]
        for au in aus
    ]
    means = [figure_text([one["mean"][key], None, None]) for one in models.values() for key in ("r", "slope")]
    yield markdown_table(header, [*rows, ["mean", *means]])


def _pose(axes: Mapping[str, Any]) -> Iterable[str]:
    if not axes:
        return
    yield "### Head pose\n"
    yield (
        "Change within a clip against the true change: each clip's mean is taken off both. Slope of the line through "
        "zero, and root mean square error in degrees.\n"
    )
    rows = [
        [axis, figure_text(axes[axis]["slope"]), figure_text(axes[axis]["rms_deg"])] for axis in AXES if axis in axes
    ]
    yield markdown_table(["axis", "slope", "error, degrees"], rows)


SECTIONS = {"emotions": _emotions, "portraits": _portraits, "people": _people}


def evidence_page(parts: Mapping[str, Any], goals: Sequence[Goal], model: str, digests: Mapping[str, str]) -> str:
    """Return the page; ``model`` is the one that the goals are for, ``digests`` name the models that were judged."""
    judged = ", ".join(f"{name} ({digest[:12]})" for name, digest in digests.items())
    reached = sum(goal.reached for goal in goals)
    head = [
        "# Evidence for the bundled models\n",
        f"Models: {judged}. Each figure comes from the whole path, as `tclr preprocess` and `tclr embed --au-model` "
        "run it; in brackets its 95% interval.\n",
        f"## Goals\n\n`{model}` reaches {reached} of {len(goals)} goals.\n",
        goal_table(goals),
    ]
    sections = [text for name, part in parts.items() for text in SECTIONS[name](part)]
    return "\n".join([*head, *sections])
