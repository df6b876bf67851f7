"""Gathers the contents of the report and writes them as one HTML file that makes no network requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from plotly.offline import get_plotlyjs

from tclr.pipeline.features import DIM, FeatureClips, measure_occurrence, measure_sight, sight_warnings
from tclr.pipeline.store import Store, read_failures, summarise_store
from tclr.pipeline.system import natural_key, read_json, write_text
from tclr.pipeline.views.pages import read_asset
from tclr.pipeline.views.report.figures import (
    Figure,
    au_timeline_figure,
    co_occurrence_figure,
    detection_figure,
    distance_figures,
    map_figure,
    training_figures,
)
from tclr.pipeline.views.report.samples import (
    MAX_CLIPS,
    SheetPicture,
    choose_clips,
    clip_pictures,
    share_ok,
    worst_pictures,
)
from tclr.pipeline.views.report.statistics import read_au_timeline, read_statistics, subject_rows
from tclr.schemas.action_units import REGIONS
from tclr.schemas.errors import StoreError
from tclr.schemas.features import describe_au_source

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClipView:
    """The contents of the page about one clip."""

    row: dict[str, Any]
    pictures: list[SheetPicture]
    timeline: Figure | None


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) of nested settings."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _clip_views(
    root: Path, rows: list[dict[str, Any]], features: FeatureClips | None, progress: Progress
) -> tuple[list[SheetPicture], list[ClipView]]:
    chosen = choose_clips(rows)
    views = []
    with Store(root) as store:
        infos = {(info.subject, info.clip): info for info in store.clips}
        total = len(store.clips) + len(chosen)
        pictured = store.has_frames
        worst = worst_pictures(store, progress=lambda done, _: progress(done, total)) if pictured else []
        for done, index in enumerate(chosen):
            info, figure = infos[rows[index]["subject"], rows[index]["clip"]], None
            if features is not None and (timeline := read_au_timeline(features, info.subject, info.clip)) is not None:
                figure = au_timeline_figure(timeline, info.name)
            views.append(ClipView(rows[index], clip_pictures(store, info) if pictured else [], figure))
            progress(len(store.clips) + done + 1, total)
    return worst, views


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the lines of ``RUN/log.jsonl``; raise ``StoreError`` unless all are JSON objects with an ``epoch``."""
    path = run / "log.jsonl"
    if not path.is_file():
        raise StoreError(f"Expected a run of 'tclr pretrain' with log.jsonl, but found none in {run}. Check --run.")
    return [
        _epoch(line, f"line {n} of {path}") for n, line in enumerate(path.read_bytes().splitlines(), 1) if line.strip()
    ]


def read_quality(run: Path) -> list[tuple[str, ...]]:
    """Return the lines of ``RUN/quality.json`` as text, none without it; raise ``StoreError`` if it is not one."""
    path = run / "quality.json"
    if not path.is_file():
        return []
    try:
        lines = [
            [line[name] for name in ("name", "trained", "start", "good", "verdict")]
            for line in read_json(path)["measures"]
        ]
        return [
            (str(name), f"{trained:.3g}", f"{start:.3g}", str(good), str(verdict))
            for name, trained, start, good, verdict in lines
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"Expected measures of 'tclr pretrain', but got something else in {path}. Remove the file, or omit --run."
        ) from error


def _epoch(text: bytes, place: str) -> dict[str, Any]:
    """Return one line of the log."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict) or not isinstance(line.get("epoch"), int):
        raise StoreError(
            f"Expected a JSON object with an epoch number, but got {text[:60].decode(errors='replace')!r} in {place}. "
            "Remove the line, or omit --run."
        )
    return line


def _provenance(summary: Mapping[str, Any], features: FeatureClips | None, run: Path | None) -> dict[str, Any]:
    tables = {"Detection (preprocess)": summary["detect"], "Alignment (preprocess)": summary["align"]}
    if run is not None and (run / "config.json").is_file():
        tables["Pretraining"] = read_json(run / "config.json")
    if features is not None:
        metadata = {name: value for name, value in features.metadata().items() if name not in ("detect", "align")}
        of_one_clip = ("subject", "clip", "source", "source_sha256", "fps", "columns")
        tables["Features (embed)"] = {name: value for name, value in metadata.items() if name not in of_one_clip}
    return {name: list(flatten(table)) for name, table in tables.items()}


def _feature_context(clips: FeatureClips) -> dict[str, Any]:
    """Return the contents of the page about a features folder as a whole."""
    statistics, sight = read_statistics(clips), measure_sight(clips)
    counted = (("Predictions", statistics.predicted), ("Labels", statistics.labelled))
    return {
        "co_occurrence": [figure for what, count in counted if (figure := co_occurrence_figure(count, what))],
        "map": map_figure(statistics.embedding) if statistics.embedding else None,
        "n_feature_clips": statistics.n_clips,
        "n_feature_files": len(clips.paths),
        "flags": [
            *(("aus", warning) for warning in measure_occurrence(clips).warnings()),
            *(("embeddings", warning) for warning in statistics.warnings),
            *(("hidden", warning) for warning in sight_warnings(sight)),
        ],
        "sight": _worst_seen(sight),
        "sight_names": [*REGIONS, DIM],
        "au_source": describe_au_source(clips.metadata().get("au_source", "none")),
    }


def _worst_seen(sight: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of at most ``MAX_CLIPS`` clips in which something cannot be seen, the worst first."""
    most = sight[[*REGIONS, DIM]].max(axis=1)
    worst = most[most > 0].sort_values(ascending=False, kind="stable").index[:MAX_CLIPS]
    return sight.loc[worst].to_dict("records")


def write_report(
    root: Path,
    out: Path,
    *,
    features: Path | None = None,
    run: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the page about a store and, if given, features and a pretraining run; return ``out``.

    ``progress`` is called with (clips done, clips in all).

    Raises
    ------
    StoreError
        If the store, features or run cannot be read.
    OutputError
        If the page cannot be written.

    Examples
    --------
    >>> write_report(Path("store"), Path("report.html"), features=Path("features")).read_text()[:15]
    '<!doctype html>'
    """
    summary = summarise_store(root)
    summary["clips"].sort(key=lambda row: natural_key(f"{row['subject']}/{row['clip']}"))
    clips = FeatureClips(features) if features is not None else None
    worst, views = _clip_views(root, summary["clips"], clips, progress)
    by_subject = detection_figure(subject_rows(summary["clips"]), "subject")
    context = {
        "summary": summary,
        "share_ok": share_ok,
        "failures": read_failures(root),
        "detection": [by_subject, detection_figure(summary["clips"], "clip")],
        "worst": worst,
        "clips": views,
        "max_clips": MAX_CLIPS,
        "training": [*training_figures(read_log(run)), *distance_figures(run)] if run else [],
        "quality": read_quality(run) if run else [],
        "quality_names": ("measure", "trained", "start", "good is", "this run"),
        "provenance": _provenance(summary, clips, run),
        "places": {"store": root, "features": features, "run": run},
        "plotly": get_plotlyjs(),
        "asset": read_asset,
        **(_feature_context(clips) if clips is not None else {}),
    }
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_text(out, environment.from_string(read_asset("report.html")).render(context))
    return out
