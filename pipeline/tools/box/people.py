"""Who trains, who selects a run, and who is tested: three groups without common members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tclr.pipeline.store import deal
from tclr.schemas.errors import InputError


@dataclass(frozen=True)
class People:
    """Names of people: networks learn from ``train``, ``select`` decides which run is taken, ``test`` is tested."""

    train: tuple[str, ...]
    select: tuple[str, ...]
    test: tuple[str, ...]


def split_people(subjects: Sequence[str], test_share: float, select_share: float, seed: int) -> People:
    """Deal people to the groups at random; each group has at least one. Shares are of all people, 0..1.

    Raises
    ------
    InputError
        If fewer than two would be left to train on.
    """
    n_test, n_select = (max(1, round(share * len(subjects))) for share in (test_share, select_share))
    if len(subjects) - n_test - n_select < 2:
        raise InputError(
            f"Expected at least 4 people to train, select and test on, but got {len(subjects)}. Give more."
        )
    test, select, train = deal(subjects, [n_test, n_select], seed)
    return People(tuple(train), tuple(select), tuple(test))
