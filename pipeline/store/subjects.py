"""Who is left out, trained on, held out and tested: every split of a store's subjects that is not a published one.

A split follows from the set of names and the seed, whatever the order of the names. Nobody is on two sides.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

import numpy as np

from tclr.schemas.errors import SettingError


def leave_out(subjects: Sequence[str], patterns: str, where: object) -> list[str]:
    """Return the subjects that match no pattern; ``where`` they are is for messages.

    ``patterns`` are names or patterns separated by commas, such as ``P0*,F001``; "" leaves nobody out.

    Raises
    ------
    SettingError
        If a pattern matches nobody, or nobody is left.

    Examples
    --------
    >>> leave_out(["F001", "F002", "M001"], "F00*", "store/")
    ['M001']
    """
    matched = set(match_subjects(subjects, patterns, where, "leave_out"))
    kept = [name for name in subjects if name not in matched]
    if not kept:
        raise SettingError(f"Expected a subject that {patterns!r} leaves, but it fits all of {where}.")
    return kept


def match_subjects(subjects: Sequence[str], patterns: str, where: object, setting: str) -> list[str]:
    """Return the subjects that match a pattern; ``where`` they are, and the ``setting``'s name, are for messages.

    Raises
    ------
    SettingError
        If a pattern matches nobody.

    Examples
    --------
    >>> match_subjects(["F001", "F002", "M001"], "F00*", "store/", "scale_on")
    ['F001', 'F002']
    """
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    for pattern in wanted:
        if not fnmatch.filter(subjects, pattern):
            action = setting.replace("_", " ")
            raise SettingError(
                f"Expected subjects to {action}, but {pattern!r} fits none of {where}: {', '.join(subjects[:3])}, ... "
                f"Correct --{setting.replace('_', '-')}."
            )
    return [name for name in subjects if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]


def deal(subjects: Iterable[str], sizes: Sequence[int], seed: int) -> list[list[str]]:
    """Deal subjects at random to groups of given sizes, each sorted; one more group gets the others.

    With one seed, a larger first group contains every smaller one.

    Examples
    --------
    >>> deal(["F001", "F002", "M001", "M002"], [1, 1], seed=0)
    [['M001'], ['F001'], ['F002', 'M002']]
    """
    dealt = np.random.default_rng(seed).permutation(sorted(set(subjects)))
    return [sorted(group.tolist()) for group in np.split(dealt, np.cumsum(sizes))]


def split_subjects(subjects: Iterable[str], val_share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split subjects into those trained on and those held out, each sorted.

    ``val_share``, 0..1, is held out; above 0, at least one subject is held out and at least one is trained on.

    Examples
    --------
    >>> split_subjects(["F001", "F002", "M001", "M002"], 0.25, seed=0)
    (['F001', 'F002', 'M002'], ['M001'])
    """
    names = set(subjects)
    n_val = min(max(round(val_share * len(names)), 1), len(names) - 1) if val_share > 0 else 0
    held_out, train = deal(names, [n_val], seed)
    return train, held_out


def assign_folds(subjects: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each frame, (N,) int64 from 0; all frames of a subject share one.

    ``subjects`` (N,) str has the subject of each frame; there are no more folds than subjects. Folds differ by at most
    one subject, however many frames each has. Scikit-learn's ``GroupKFold`` balances frames instead, which gives other
    folds.

    Examples
    --------
    >>> assign_folds(np.array(["F001", "F001", "F002", "M001"]), 2, seed=0).tolist()
    [1, 1, 0, 0]
    """
    names, index = np.unique(subjects, return_inverse=True)
    fold_of = np.empty(len(names), np.int64)
    fold_of[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % min(n_folds, len(names))
    return fold_of[index]


def hold_out(subjects: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return (N,) bool: the frames of the first of ``assign_folds``; none if there is only one subject.

    Examples
    --------
    >>> hold_out(np.array(["F001", "F001", "F002", "M001"]), 2, seed=0).tolist()
    [False, False, True, True]
    """
    folds = assign_folds(subjects, n_folds, seed)
    return (folds == 0) & (folds.max() > 0)
