"""The model card of a run of the recipe: facts and figures, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from tclr.pipeline.au import AuHead
from tclr.pipeline.system import markdown_table
from tclr.pipeline.tools.box.evidence import METRICS, Judged
from tclr.pipeline.tools.box.people import People
from tclr.pipeline.tools.box.qualities import AS_GIVEN
from tclr.schemas.config import BoxConfig

HEADINGS = {"f1": "F1", "roc_auc": "ROC-AUC", "icc_3_1": "ICC(3,1)"}
MODELS = (
    "blendshape mapping",
    "blendshapes + linear",
    "landmarks + linear",
    "box",
    "box, centred",
    "shape",
    "face",
    "face, centred",
)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def quality_table(judged: Sequence[Judged], metric: str) -> str:
    """Return one metric's mean over AUs: one row per model, one column per kind of frames."""
    by_key = {(one.model, one.quality): one for one in judged}
    qualities = list(dict.fromkeys(one.quality for one in judged if one.model == "box"))
    rows = [
        [model, *(_text(by_key[model, quality].mean.get(metric)) for quality in qualities)]
        for model in MODELS
        if all((model, quality) in by_key for quality in qualities)
    ]
    return markdown_table([HEADINGS[metric], *qualities], rows)


def au_table(judged: Sequence[Judged]) -> str:
    """Return F1, ROC-AUC and ICC by AU, on the original clips."""
    shown = [one for one in judged if one.quality == AS_GIVEN and one.model in ("blendshapes + linear", "box", "face")]
    header = ["AU", *(f"{one.model}: {HEADINGS[metric]}" for one in shown for metric in METRICS)]
    rows = [[au, *(_text(one.aus[au].get(metric)) for one in shown for metric in METRICS)] for au in shown[0].aus]
    return markdown_table(header, rows)


def start_table(judged: Sequence[Judged], starts: Sequence[str], n_seeds: int) -> str:
    """Return mean, lowest and highest score over the seeds of each start."""
    rows = []
    for start in starts:
        for quality in dict.fromkeys(one.quality for one in judged):
            own = [
                one
                for one in judged
                if one.quality == quality and one.model in [f"{start}, seed {s}" for s in range(n_seeds)]
            ]
            cells = []
            for metric in METRICS:
                values = [value for one in own if (value := one.mean.get(metric)) is not None]
                spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
                cells.append(f"{mean(values):.3f}{spread}" if values else "-")
            rows.append([start, quality, str(len(own)), *cells])
    return markdown_table(["start", "frames", "seeds", *HEADINGS.values()], rows)


def model_card(
    chosen: str,
    people: People,
    config: BoxConfig,
    starts: Sequence[str],
    judged: Sequence[Judged],
    box: AuHead,
    face: AuHead,
) -> str:
    """Return the card; ``chosen`` is the run that was taken, ``starts`` are what fine-tuning started from."""
    tested = next(one for one in judged if one.model == "box" and one.quality == AS_GIVEN)
    return f"""# Model card

An encoder with a head for {len(box.au_names)} Action Units, and heads that read the shape of the face, with (`face`)
and without (`shape`) that encoder's embedding.

- **Learnt from** {len(people.train)} people with AU intensities. {len(people.select)} others decided which run is
  taken, and from which probability AUs of `face` count as present. {len(people.test)} others are tested: nothing has
  learnt from them, not even pretraining.
- **Taken**: {chosen}. Encoder {box.encoder_digest[:12]}, input {config.image_size} px; head {box.digest[:12]},
  face {face.digest[:12]}.
- **Action Units**: {", ".join(box.au_names)}, occurrence (from an intensity of 2 of 5 on) and intensity 0 to 5.
- **Tested on** {tested.n_frames:,} frames of {tested.n_people} people, means over AUs, frames pooled. The blendshape
  mapping has no rule for some AUs: its means are over the others.

## By quality of the video

{quality_table(judged, "f1")}
{quality_table(judged, "roc_auc")}
{quality_table(judged, "icc_3_1")}
## By Action Unit, clips as given

{au_table(judged)}
## What fine-tuning starts from

{start_table(judged, starts, config.seeds)}"""
