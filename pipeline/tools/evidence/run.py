"""A run: judge each given folder, keep each finished part, and write tables and pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tclr.pipeline.au import BOX, FACE, MAPPING_VERSION, SHAPE, no_rows
from tclr.pipeline.system import read_json, write_json, write_text
from tclr.pipeline.tools.box import AS_GIVEN, QUALITIES, read_people, write_degraded
from tclr.pipeline.tools.evidence.charts import draw_aus
from tclr.pipeline.tools.evidence.emotions import EMOTIONS, judge_emotions
from tclr.pipeline.tools.evidence.goals import Goal, judge_goals
from tclr.pipeline.tools.evidence.motion import clips_of, judge_pose, judge_sides, read_truth
from tclr.pipeline.tools.evidence.page import evidence_page
from tclr.pipeline.tools.evidence.path import MODELS, Predicted, Tell, common_aus, in_order, make_store, predict
from tclr.pipeline.tools.evidence.people import group_parts, judge_people, read_groups, turned_parts
from tclr.pipeline.tools.evidence.portraits import LABELS, judge_calls, judge_twins
from tclr.pipeline.tools.evidence.stills import TWINS, list_pictures, write_stills
from tclr.pipeline.tools.evidence.unseen import choose_people, link_people
from tclr.schemas.errors import SettingError, StoreError

FILES = {"face": (FACE, BOX), "shape": (SHAPE,), "box": (BOX,)}
"""Files of the bundled models: ``face`` reads embeddings of the network."""
POORER = {quality.replace(", ", "-").replace(" ", "-"): quality for quality in QUALITIES}
"""Poorer qualities of video, by a name without spaces and commas."""
FORMAT_VERSION = 1
"""Of the kept parts; another one is judged again."""


@dataclass(frozen=True)
class EvidenceResult:
    """The page, the figures, the pictures, and the goals with what was measured."""

    page: Path
    figures: Path
    pictures: tuple[Path, ...]
    goals: list[Goal]


@dataclass(frozen=True)
class _Run:
    out: Path
    models: tuple[str, ...]
    qualities: tuple[str, ...]
    only: tuple[str, ...]
    workers: int | None
    tell: Tell

    def step(self, name: str) -> Callable[[int, int], None]:
        """Return the callback of a step."""
        self.tell(name, 0, 1)
        return lambda done, total: self.tell(name, done, total)

    def predict(self, source: Path, folder: Path, dataset: str, what: str) -> dict[str, Predicted]:
        """Preprocess a source and embed it by every model."""
        make_store(source, folder / "store", dataset, self.workers, self.tell, what)
        return predict(folder / "store", folder / "features", self.models, self.tell, what)

    def emotions(self, folder: Path) -> dict[str, Any]:
        """Judge pictures by emotion."""
        place = self.out / "emotions"
        made = write_stills(list_pictures(folder, EMOTIONS), {}, place / "pictures", self.step("Writing emotions"))
        predicted = self.predict(place / "pictures", place, "emotionet", "emotions")
        self.step("Judging emotions")
        return judge_emotions(predicted, {name: picture.label for name, (_, picture) in made.items()})

    def portraits(self, folder: Path) -> dict[str, Any]:
        """Judge portraits and their altered copies."""
        place = self.out / "portraits"
        pictures = list_pictures(folder, LABELS)
        made = write_stills(pictures, TWINS, place / "pictures", self.step("Writing portraits and copies"))
        predicted = self.predict(place / "pictures", place, "emotionet", "portraits")
        self.step("Judging portraits")
        return {"calls": judge_calls(predicted, made), "twins": judge_twins(predicted, made)}

    def people(self, folder: Path) -> dict[str, Any]:
        """Judge videos of people whom the models have not learnt from, at every quality."""
        chosen = choose_people(folder, self.models, self.only)
        place = self.out / "people" / "as-given"
        link_people(folder, chosen.people, place / "videos")
        predicted = self.predict(place / "videos", place, "folder", "people")
        told = self.step("Judging people")
        frames = read_people(place / "store", chosen.people, no_rows)
        groups = read_groups(folder)
        first = next(iter(predicted.values()))
        parts = {AS_GIVEN: None} | turned_parts(first, frames)
        parts |= {} if groups is None else dict(group_parts(groups, frames.subjects))
        judged = judge_people(predicted, frames, parts)
        told(1, 1)
        for name in self.qualities:
            judged += self._people_at(folder, chosen.people, name)
        clips = clips_of(first, chosen.people)
        sides, pose = (read_truth(folder / name, clips) for name in ("sides", "pose"))
        return {
            "people": list(chosen.people),
            "n_left_out": chosen.n_left_out,
            "by_hand": chosen.by_hand,
            "doubts": list(chosen.doubts),
            "common": [name for name in frames.names if name in common_aus(predicted)],
            "judged": judged,
            "sides": {} if sides is None else judge_sides(predicted, sides),
            "pose": {} if pose is None else judge_pose(first, pose),
        }

    def _people_at(self, folder: Path, people: Sequence[str], name: str) -> list[dict[str, Any]]:
        place, quality = self.out / "people" / name, POORER[name]
        told = self.step(f"Writing {quality}")
        write_degraded(folder, people, *QUALITIES[quality], place / "videos", told)
        predicted = self.predict(place / "videos", place, "folder", quality)
        self.step(f"Judging {quality}")
        return judge_people(predicted, read_people(place / "store", people, no_rows), {quality: None})

    def made_from(self, name: str, folder: Path) -> dict[str, Any]:
        """Return what a part follows from: if it is the same, the part need not be judged again."""
        listing = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            status = path.stat()
            listing.update(f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        settings = {"only": sorted(self.only), "qualities": list(self.qualities)} if name == "people" else {}
        return {
            "format_version": FORMAT_VERSION,
            "tclr_version": version("tclr-face"),
            "source": listing.hexdigest(),
            "models": digest_models(self.models),
            **settings,
        }

    def part(self, name: str, folder: Path) -> dict[str, Any]:
        """Return a part, from its file if it was made from the same."""
        path, made_from = self.out / "parts" / f"{name}.json", self.made_from(name, folder)
        with suppress(StoreError):
            kept = read_json(path)
            if kept.get("made_from") == made_from:
                return dict(kept["result"])
        result = {"emotions": self.emotions, "portraits": self.portraits, "people": self.people}[name](folder)
        write_json(path, {"made_from": made_from, "result": result})
        return result


def digest_models(models: Sequence[str]) -> dict[str, str]:
    """Return a digest of each model's files; of the fixed rules, their version."""
    return {
        model: hashlib.sha256(b"".join(path.read_bytes() for path in FILES[model])).hexdigest()
        if model in FILES
        else f"version {MAPPING_VERSION}"
        for model in models
    }


def _check(names: Sequence[str], known: Sequence[str], option: str) -> tuple[str, ...]:
    """Return the names in the order of those that are known."""
    if unknown := [name for name in names if name not in known]:
        raise SettingError(f"Unknown {option} {unknown[0]!r}. Known: {', '.join(known)}.")
    return tuple(name for name in known if name in names)


def _draw(out: Path, parts: dict[str, Any]) -> list[Path]:
    """Draw the parts that have figures by AU."""
    drawn = []
    if "emotions" in parts:
        models = {model: one["aus"] for model, one in in_order(parts["emotions"]["models"]).items()}
        drawn.append(out / "emotions.png")
        draw_aus(drawn[-1], "Emotions that show an AU against those that do not", "ROC-AUC", models, chance=0.5)
    if "people" in parts:
        own = [one for one in parts["people"]["judged"] if one["frames"] == AS_GIVEN]
        models = {one["model"]: {au: scores["roc_auc"] for au, scores in one["aus"].items()} for one in own}
        drawn.append(out / "people.png")
        draw_aus(drawn[-1], "People never seen", "ROC-AUC", models, chance=0.5)
    return drawn


def run_evidence(
    out: Path,
    *,
    emotions: Path | None = None,
    portraits: Path | None = None,
    people: Path | None = None,
    only: Sequence[str] = (),
    models: Sequence[str] = MODELS,
    qualities: Sequence[str] = tuple(POORER),
    workers: int | None = None,
    tell: Tell = lambda what, done, total: None,
) -> EvidenceResult:
    """Judge the bundled models on the given folders; a second call resumes, and reuses what is finished.

    Parameters
    ----------
    out : Path
        Folder for everything: ``evidence.md``, ``evidence.json``, pictures, stores and features.
    emotions : Path, optional
        Sub-folders of pictures by emotion, see ``EMOTIONS``.
    portraits : Path, optional
        Sub-folders ``neutral`` and ``smiling``, one picture per person in each, under the same name.
    people : Path, optional
        Videos with AU intensities (docs/labels.md), and optionally ``sides/``, ``pose/`` and ``people.csv``.
    only : sequence of str
        Judge these people; by default all whom no bundled model has learnt from.
    models, qualities : sequence of str
        Some of the bundled models, the first of which the goals are for; and of the poorer qualities, ``POORER``.
    workers : int, optional
        Processes of preprocessing.
    tell : callable
        Called with the name of a step, its parts done and its parts in total.

    Raises
    ------
    SettingError
        If no folder is given, or a model or a quality is unknown.
    InputError
        If a folder does not hold what is expected, or nobody is left to be judged on.
    TclrError
        As preprocessing and export do.

    Examples
    --------
    >>> run_evidence(Path("out"), portraits=Path("portraits")).page  # doctest: +SKIP
    PosixPath('out/evidence.md')
    """
    folders = {"emotions": emotions, "portraits": portraits, "people": people}
    given = {name: folder for name, folder in folders.items() if folder is not None}
    if not given:
        raise SettingError("Expected --emotions, --portraits or --people, but got none. Give at least one folder.")
    models, qualities = _check(models, MODELS, "model"), _check(qualities, tuple(POORER), "quality")
    run = _Run(out, models, qualities, tuple(only), workers, tell)
    parts = {name: run.part(name, folder) for name, folder in given.items()}
    goals, digests = judge_goals(parts, models[0]), digest_models(models)
    content = {"goals": [asdict(goal) for goal in goals], "models": digests, **parts}
    page, figures = out / "evidence.md", out / "evidence.json"
    write_json(figures, content)
    write_text(page, evidence_page(parts, goals, models[0], digests))
    return EvidenceResult(page, figures, tuple(_draw(out, parts)), goals)
