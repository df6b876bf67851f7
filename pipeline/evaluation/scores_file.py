"""The JSON file of an evaluation, format 1: protocol, folds, settings, and every figure with its interval.

::

    format, format_version, tclr_version, protocol, notes, average, au_names
    stores    list of path, dataset, data_hash
    folds     list of name, train, test: names of subjects (or shards)
    frames    labelled, scored: test frames with a known label, and those of them that have a face
    settings  evaluate, fit_au
    published mean F1 in percent, by method of the literature
    methods   list of method, label, seconds, notes, encoder, n_aus, thresholds (by fold and AU),
              scores: metric -> folds | pooled -> AU or "mean" -> [value, low, high],
              curve: list of share, seed, n_subjects, f1, roc_auc

Figures are shares (0..1), except MAE, which is in intensity steps (0..5); null where nothing can be measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from tclr.pipeline.au import Estimate
from tclr.pipeline.evaluation.evaluation import Evaluation, MethodResult

FORMAT = "tclr-evaluation"
FORMAT_VERSION = 1


def _plain(content: Any) -> Any:
    """Return content as JSON can hold it: tuples become lists, numbers that are not finite null."""
    match content:
        case float():
            return content if math.isfinite(content) else None
        case Estimate():
            return _plain((content.value, content.low, content.high))
        case dict():
            return {name: _plain(value) for name, value in content.items()}
        case list() | tuple():
            return [_plain(value) for value in content]
        case _:
            return content


def evaluation_content(evaluation: Evaluation, results: Sequence[MethodResult]) -> dict[str, Any]:
    r"""Return the content of the file, with the methods that are finished.

    Examples
    --------
    >>> from tclr.schemas.config import EvaluateConfig, FitAuConfig
    >>> _ = Path("folds.csv").write_text("subject,fold\nF001,a\nF003,b\n")
    >>> stores, methods = [Path("store")], ["all-positive"]
    >>> evaluation = Evaluation(stores, "folds.csv", "random", EvaluateConfig(), FitAuConfig(), methods=methods)
    >>> evaluation_content(evaluation, list(evaluation.run()))["frames"]
    {'labelled': 32, 'scored': 32}
    """
    plan, data = evaluation.plan, evaluation.data
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "tclr_version": version("tclr-face"),
        "protocol": plan.protocol,
        "notes": plan.notes,
        "average": evaluation.config.average,
        "au_names": plan.au_names,
        "stores": [
            {"path": str(store.path), "dataset": store.facts.dataset, "data_hash": store.data_hash}
            for store in data.stores
        ],
        "folds": [
            {"name": split.name, "train": sorted(split.train), "test": sorted(split.test)} for split in plan.splits
        ],
        "frames": {"labelled": data.n_labelled, "scored": data.n_tested},
        "settings": {
            "evaluate": evaluation.config.model_dump(mode="json"),
            "fit_au": evaluation.fit.model_dump(mode="json"),
        },
        "published": dict(plan.published),
        "methods": [
            {
                "method": result.method,
                "label": result.label,
                "seconds": result.seconds,
                "notes": result.notes,
                "encoder": result.encoder,
                "n_aus": result.n_aus,
                "thresholds": result.thresholds,
                "scores": {
                    metric: {
                        way: dict(zip(plan.au_names, scores.aus, strict=True)) | {"mean": scores.mean}
                        for way, scores in ways.items()
                    }
                    for metric, ways in result.scores.items()
                },
                "curve": [asdict(point) for point in result.curve],
            }
            for result in results
        ],
    }
    return dict(_plain(content))
