"""Who trains, who says which run is taken, and who is tested: nobody is in two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tclr.pipeline.store import deal
from tclr.schemas.errors import InputError


@dataclass(frozen=True)
class People:
    """Names of people: those that networks learn from, those that select a run, those that are tested."""

    train: tuple[str, ...]
    select: tuple[str, ...]
    test: tuple[str, ...]


def split_people(subjects: Sequence[str], test_share: float, select_share: float, seed: int) -> People:
    """Deal people at random; each group has at least one.

    Parameters
    ----------
    subjects : sequence of str
        Names, in any order.
    test_share, select_share : float
        Shares of all, 0..1, together below 1.
    seed : int
        Who is dealt where.

    Raises
    ------
    InputError
        If there are too few people to train on two.
    """
    names = sorted(subjects)
    n_test, n_select = (max(1, round(share * len(names))) for share in (test_share, select_share))
    if len(names) - n_test - n_select < 2:
        raise InputError(f"Expected at least 4 people to train, select and test on, but got {len(names)}. Give more.")
    test, select, train = deal(names, [n_test, n_select], seed)
    return People(tuple(train), tuple(select), tuple(test))
