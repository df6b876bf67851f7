"""The people of a folder of videos whom the bundled models have not learnt from, as a source of their own."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tclr.pipeline.au import BOX, FACE, SHAPE, AuHead, load_head
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.sources import LABEL_FOLDER, Clip, find_clips
from tclr.schemas.errors import InputError

HEADS = {"face": FACE, "shape": SHAPE}
"""Bundled heads whose settings name the people who were left out of their fit."""


@dataclass(frozen=True)
class Chosen:
    """Who is judged, how many of the folder's people are left out, whether the user chose, and what is doubtful."""

    people: tuple[str, ...]
    n_left_out: int
    by_hand: bool
    doubts: tuple[str, ...] = ()


def learnt_from(people: Collection[str], encoder_subjects: Collection[str], heads: Mapping[str, AuHead]) -> set[str]:
    """Return those people whom an encoder or a head has learnt from, as far as their files say.

    An encoder names its people. A head names those who were left out of its fit: if some of them are among ``people``,
    the others are taken to be in it.
    """
    seen = {subject.split("/")[-1] for subject in encoder_subjects} & set(people)
    for head in heads.values():
        if left_out := left_out_of(head, people):
            seen |= set(people) - left_out
    return seen


def left_out_of(head: AuHead, people: Collection[str]) -> set[str]:
    """Return those people who were left out of a head's fit by name."""
    return {name.strip() for name in str(head.settings.get("leave_out", "")).split(",")} & set(people)


def choose_people(folder: Path, models: Sequence[str], only: Sequence[str] = ()) -> Chosen:
    """Return the people to judge the bundled models on.

    Parameters
    ----------
    folder : Path
        Videos with AU intensities (docs/labels.md).
    models : sequence of str
        The models to be judged: those that learnt nothing leave nobody out.
    only : sequence of str
        Names of people whom the models have not learnt from, as the user knows; replaces the choice.

    Raises
    ------
    InputError
        If nobody is left, or a name is unknown.
    """
    people = sorted({clip.subject for clip in find_clips(folder, "folder") if clip.label_paths})
    if unknown := sorted(set(only) - set(people)):
        raise InputError(
            f"Expected people of {folder} for --only, but {unknown[0]!r} has no labelled clip there. "
            f"Known people: {', '.join(people[:10])}{' ...' if len(people) > 10 else ''}."
        )
    heads = {name: load_head(HEADS[name]) for name in models if name in HEADS}
    subjects = load_encoder(BOX).info.subjects if heads or "box" in models else ()
    seen = learnt_from(people, subjects, heads)
    if only:
        known = seen & set(only)
        doubt = f"{len(known)} of them have names of people whom the models have learnt from"
        return Chosen(tuple(sorted(set(only))), len(people) - len(set(only)), True, (doubt,) if known else ())
    left = tuple(name for name in people if name not in seen)
    if not left:
        raise InputError(
            f"Expected people whom the bundled models have not learnt from, but they have learnt from all "
            f"{len(people)} labelled people of {folder}. Give videos of other people, or names with --only."
        )
    unsure = [name for name, head in heads.items() if len(left) < len(people) and not left_out_of(head, people)]
    doubts = tuple(f"{name} does not say whom it was fitted on, and may have learnt from them" for name in unsure)
    return Chosen(left, len(people) - len(left), False, doubts)


def link_people(folder: Path, people: Collection[str], out: Path) -> None:
    """Make ``out`` a source with the clips and label tables of some people, as links to the originals.

    Raises
    ------
    InputError
        If a clip is a part of a video.
    """
    shutil.rmtree(out, ignore_errors=True)
    for clip in find_clips(folder, "folder"):
        if clip.subject not in people:
            continue
        if clip.start_s > 0 or math.isfinite(clip.end_s):
            raise InputError(f"Expected whole videos in {folder}, but {clip.name} is a part of one. Cut it out first.")
        suffix = "" if clip.path.is_dir() else clip.path.suffix
        _link(clip.path, out / clip.subject / f"{clip.clip}{suffix}")
        for table in clip.label_paths:
            _link(table, out / LABEL_FOLDER / table_name(clip))


def table_name(clip: Clip) -> str:
    """Return the name of a clip's table in ``labels/``, ``sides/`` and ``pose/``."""
    return f"{clip.subject}_{clip.clip}.csv"


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(path.resolve(), link)
