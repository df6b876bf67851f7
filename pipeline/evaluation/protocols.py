"""From the name of a protocol and a store's subjects to splits in which no subject is on both sides."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tclr.pipeline.sources import Pseudonyms
from tclr.schemas.errors import InputError, SettingError, suggestion
from tclr.schemas.protocols import AUS_OF_DATASET, CROSS, EMOTIONET, EMOTIONET_AU_NAMES, FOLD_PROTOCOLS, FoldProtocol


@dataclass(frozen=True)
class StoreFacts:
    """What a protocol needs to know about a store.

    ``au_names`` have labels; ``subjects`` and ``shards`` (``subject/clip``) have labelled frames with a face.
    ``pseudonym_key`` is ``Pseudonyms.check`` of the subjects' names, empty where these are real names.
    """

    where: str
    dataset: str
    au_names: frozenset[str]
    subjects: frozenset[str]
    shards: frozenset[str]
    pseudonym_key: str = ""


@dataclass(frozen=True)
class Split:
    """One fold: the units, subjects or shards, that train and those that are tested.

    Raises
    ------
    InputError
        If a unit is on both sides, or a side is empty.
    """

    name: str
    train: frozenset[str]
    test: frozenset[str]

    def __post_init__(self) -> None:
        if both := sorted(self.train & self.test):
            raise InputError(
                f"Expected nobody on both sides, but {both[0]} trains and is tested in fold {self.name!r}. "
                "Give every subject one fold."
            )
        for side, units in (("to train on", self.train), ("to test", self.test)):
            if not units:
                raise InputError(
                    f"Expected someone {side} in fold {self.name!r}, but the store has none of them with labels. "
                    "Give a store with more subjects, or a folds.csv with folds of your own (--protocol)."
                )


@dataclass(frozen=True)
class EvaluationPlan:
    """What is trained and tested: the AUs, the splits, and notes for the reader of the table.

    ``unit`` is what is kept together: ``subject`` or ``shard``. Names of the clips that take part begin with ``clip``.
    ``published`` has mean F1 in percent of other methods, if the store has the whole dataset.
    """

    protocol: str
    au_names: tuple[str, ...]
    splits: tuple[Split, ...]
    unit: str
    clip: str
    notes: tuple[str, ...]
    published: Mapping[str, float]

    @property
    def crosses(self) -> bool:
        """Whether training and test data are different datasets; units are then ``dataset/subject``."""
        return self.protocol.startswith(CROSS)


def _require_dataset(store: StoreFacts, dataset: str, protocol: str) -> None:
    if store.dataset != dataset:
        raise InputError(
            f"Expected a store of {dataset} for protocol {protocol}, but {store.where} is of {store.dataset}. "
            "Give another protocol, or a folds.csv."
        )


def _labelled(au_names: Iterable[str], store: StoreFacts, notes: list[str]) -> tuple[str, ...]:
    """Return those AUs that the store has labels for, and add a note on the others."""
    wanted = tuple(au_names)
    found = tuple(name for name in wanted if name in store.au_names)
    if not found:
        raise InputError(
            f"Expected labels of {', '.join(wanted)}, but {store.where} has none of them. "
            f"It has: {', '.join(sorted(store.au_names))}."
        )
    if missing := [name for name in wanted if name not in found]:
        notes.append(f"without {', '.join(missing)}: the store has no labels of them, and the mean is over fewer AUs")
    return found


def _fold_splits(tested: Mapping[str, Iterable[str]], present: frozenset[str]) -> tuple[Split, ...]:
    """Return one split per fold: its units are tested, those of the other folds train; absent ones are left out."""
    everyone = frozenset(unit for units in tested.values() for unit in units) & present
    return tuple(Split(name, everyone - frozenset(units), frozenset(units) & present) for name, units in tested.items())


def _as_named(protocol: FoldProtocol, store: StoreFacts, pseudonyms: Pseudonyms | None) -> FoldProtocol:
    """Return the protocol with the store's names of people and clips."""
    if not store.pseudonym_key:
        return protocol
    if pseudonyms is None or pseudonyms.check != store.pseudonym_key:
        got = "no key" if pseudonyms is None else "another key"
        raise InputError(
            f"Expected the key of {store.where}, whose names are pseudonyms, as {protocol.name} lists people by name, "
            f"but got {got}. Give it with --pseudonyms KEYFILE, or a folds.csv of pseudonyms as the protocol."
        )
    tested = tuple(tuple(map(pseudonyms.subject, fold)) for fold in protocol.tested)
    return replace(protocol, tested=tested, clip=pseudonyms.clip(protocol.clip) if protocol.clip else "")


def _plan_folds(protocol: FoldProtocol, store: StoreFacts, pseudonyms: Pseudonyms | None) -> EvaluationPlan:
    _require_dataset(store, protocol.dataset, protocol.name)
    protocol = _as_named(protocol, store, pseudonyms)
    notes: list[str] = []
    au_names = _labelled(protocol.au_names, store, notes)
    missing = protocol.subjects - store.subjects
    if missing:
        n_all = len(protocol.subjects)
        notes.append(
            f"{n_all - len(missing)} of the protocol's {n_all} subjects: not comparable with published figures"
        )
    if strangers := sorted(store.subjects - protocol.subjects):
        notes.append(f"left out, as no part of the protocol has them: {', '.join(strangers)}")
    if protocol.clip:
        notes.append(f"clips named {protocol.clip}... only, as in the literature")
    splits = _fold_splits({str(i + 1): subjects for i, subjects in enumerate(protocol.tested)}, store.subjects)
    published = {} if missing or len(au_names) < len(protocol.au_names) else protocol.published
    return EvaluationPlan(protocol.name, au_names, splits, "subject", protocol.clip, tuple(notes), published)


def read_folds(path: Path) -> dict[str, list[str]]:
    """Read a table with the columns ``subject`` and ``fold``; return the subjects of each fold, in their order.

    Any text may name a fold.

    Raises
    ------
    SettingError
        If it cannot be read, lacks a column or a value, has a subject in two folds, or a single fold.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(f"Expected a table of folds (subject,fold), but cannot read {path}: {error}.") from error
    folds: dict[str, list[str]] = {}
    fold_of: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        subject, fold = (str(row.get(column) or "").strip() for column in ("subject", "fold"))
        if not subject or not fold:
            raise SettingError(f"Expected a subject and a fold (columns 'subject,fold') in line {number} of {path}.")
        if fold_of.setdefault(subject, fold) != fold:
            raise SettingError(
                f"Expected one fold per subject, but {subject} is in {fold_of[subject]!r} and {fold!r} in {path}. "
                "Give every subject one fold."
            )
        if subject not in folds.setdefault(fold, []):
            folds[fold].append(subject)
    if len(folds) < 2:
        raise SettingError(f"Expected two folds or more, but got {len(folds)} in {path}: nobody would be trained on.")
    return folds


def _plan_table(path: Path, store: StoreFacts) -> EvaluationPlan:
    folds = read_folds(path)
    named = {subject for subjects in folds.values() for subject in subjects}
    if unknown := sorted(named - store.subjects):
        raise InputError(
            f"Expected subjects of {store.where} with labels, but got {unknown[0]!r} in {path}. "
            f"Known subjects: {', '.join(sorted(store.subjects))}."
        )
    strangers = sorted(store.subjects - named)
    notes = (f"left out, as {path.name} does not name them: {', '.join(strangers)}",) if strangers else ()
    au_names = tuple(sorted(store.au_names))
    return EvaluationPlan(path.name, au_names, _fold_splits(folds, store.subjects), "subject", "", notes, {})


def _plan_emotionet(store: StoreFacts, n_folds: int) -> EvaluationPlan:
    """Assign whole shards to folds by a hash of their names, whatever their order or number."""
    _require_dataset(store, EMOTIONET, EMOTIONET)
    tested: dict[str, list[str]] = {str(fold + 1): [] for fold in range(n_folds)}
    for shard in sorted(store.shards):
        tested[str(int(hashlib.sha256(shard.encode()).hexdigest(), 16) % n_folds + 1)].append(shard)
    notes = [
        "shards of folders, not people, are kept apart: the same face may be on both sides; not the challenge's split"
    ]
    if store.pseudonym_key:
        notes.append("folds follow from pseudonyms: with another key, or with names, they are others")
    au_names = _labelled(EMOTIONET_AU_NAMES, store, notes)
    return EvaluationPlan(EMOTIONET, au_names, _fold_splits(tested, store.shards), "shard", "", tuple(notes), {})


def qualified(store: StoreFacts, subject: str) -> str:
    """Return ``dataset/subject``: the same name in two datasets means two people."""
    return f"{store.dataset}/{subject}"


def _scored(store: StoreFacts) -> frozenset[str]:
    """Return the AUs of a store that its dataset's protocol scores; all if there is no such protocol."""
    return store.au_names & frozenset(AUS_OF_DATASET.get(store.dataset, store.au_names))


def _plan_cross(text: str, stores: Sequence[StoreFacts]) -> EvaluationPlan:
    separator = "->" if "->" in text else ":"
    names = tuple(name.strip() for name in text.removeprefix(CROSS).split(separator))
    if len(names) != 2 or not all(names):
        raise SettingError(f"Expected cross:TRAIN:TEST, such as cross:bp4d:disfa, but got {text!r}.")
    if tuple(store.dataset for store in stores) != names:
        got = ", ".join(f"{store.where} ({store.dataset})" for store in stores)
        raise InputError(f"Expected two stores, of {names[0]} and of {names[1]} in this order, but got {got}.")
    train, test = stores
    sides = [frozenset(qualified(store, subject) for subject in store.subjects) for store in (train, test)]
    au_names = tuple(sorted(_scored(train) & _scored(test)))
    if not au_names:
        raise InputError(
            f"Expected AUs that both stores have labels of, but {train.where} and {test.where} share none."
        )
    label = f"{names[0]}->{names[1]}"
    return EvaluationPlan(f"{CROSS}{label}", au_names, (Split(label, *sides),), "subject", "", (), {})


def plan_evaluation(
    protocol: str, stores: Sequence[StoreFacts], *, n_folds: int = 3, pseudonyms: Pseudonyms | None = None
) -> EvaluationPlan:
    """Settle who trains and who is tested.

    Parameters
    ----------
    protocol : str
        ``bp4d-3fold``, ``disfa-3fold``, ``emotionet``, ``cross:TRAIN:TEST`` (or ``cross:TRAIN->TEST``), or the path of
        a CSV file with the columns ``subject`` and ``fold``.
    stores : sequence of StoreFacts
        Two for ``cross:``, in the order of its name; otherwise one.
    n_folds : int
        Folds of ``emotionet``.
    pseudonyms : Pseudonyms, optional
        Key of the store, for a protocol that lists people by name.

    Raises
    ------
    SettingError
        If the protocol is unknown, or the table of folds is wrong.
    InputError
        If the stores or the pseudonyms do not fit, a subject would be on both sides, or a fold is empty.
    """
    if protocol.startswith(CROSS):
        return _plan_cross(protocol, stores)
    if len(stores) != 1:
        raise InputError(f"Expected one store for protocol {protocol!r}, but got {len(stores)}. Two are for cross:.")
    if protocol in FOLD_PROTOCOLS:
        return _plan_folds(FOLD_PROTOCOLS[protocol], stores[0], pseudonyms)
    if protocol == EMOTIONET:
        return _plan_emotionet(stores[0], n_folds)
    if Path(protocol).suffix.lower() == ".csv":
        return _plan_table(Path(protocol), stores[0])
    known = ", ".join([*FOLD_PROTOCOLS, EMOTIONET, f"{CROSS}TRAIN:TEST", "or a .csv file (subject,fold)"])
    names = [*FOLD_PROTOCOLS, EMOTIONET]
    raise SettingError(f"Unknown protocol {protocol!r}. Known protocols: {known}.{suggestion(protocol, names)}")
