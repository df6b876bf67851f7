import numpy as np
import pytest

from tclr.pipeline.store import assign_folds, deal, hold_out, leave_out, match_subjects, split_subjects
from tclr.schemas.errors import SettingError

NAMES = ["F001", "F002", "M001", "P010"]


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [("", NAMES), ("F*", ["M001", "P010"]), ("M001, *10", ["F001", "F002"]), ("?00[12]", ["P010"]), (" , ", NAMES)],
)
def test_names_and_patterns_leave_the_others(patterns, kept):
    assert leave_out(NAMES, patterns, "store") == kept


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ("F001,X*", r"'X\*' fits none of store: F001, F002, M001, \.\.\. Correct --leave-out"),
        ("*", "fits all of store"),
    ],
)
def test_a_pattern_that_fits_nobody_or_all_is_an_error(patterns, message):
    with pytest.raises(SettingError, match=message):
        leave_out(NAMES, patterns, "store")


def test_matching_keeps_the_order_and_names_its_own_setting():
    assert match_subjects(NAMES, "P*, F002", "store", "scale_on") == ["F002", "P010"]
    assert match_subjects(NAMES, "", "store", "scale_on") == []
    with pytest.raises(SettingError, match=r"Expected subjects to scale on, but 'Q\*' fits none .* Correct --scale-on"):
        match_subjects(NAMES, "Q*", "store", "scale_on")


def test_groups_are_drawn_apart_and_a_larger_one_contains_the_smaller():
    names = [f"S{i}" for i in range(10)]
    groups = deal(names[::-1], [2, 3], seed=1)
    assert [len(group) for group in groups] == [2, 3, 5] and sorted(sum(groups, [])) == names
    assert deal(names, [2, 3], seed=1) == groups != deal(names, [2, 3], seed=2)
    assert set(groups[0]) < set(deal(names, [4], seed=1)[0])


def test_split_subjects_keeps_sides_apart_and_follows_the_seed():
    names = [f"S{i}" for i in range(10)]
    train, val = split_subjects(names, 0.3, seed=1)
    assert len(val) == 3 and sorted(train + val) == names
    assert split_subjects(names[::-1], 0.3, seed=1) == (train, val)
    assert split_subjects(names, 0.3, seed=2) != (train, val)
    assert split_subjects(["a"], 0.5, 0) == (["a"], []) and split_subjects(["a", "b"], 0.01, 0)[1] != []
    assert split_subjects(names, 0, 0) == (names, [])


@pytest.mark.parametrize(("n_subjects", "n_folds"), [(41, 3), (5, 5), (2, 5), (1, 2), (7, 3)])
def test_assign_folds_never_splits_a_subject(n_subjects, n_folds):
    rng = np.random.default_rng(0)
    subjects = rng.permutation(np.repeat([f"S{i}" for i in range(n_subjects)], 9))
    folds = assign_folds(subjects, n_folds, seed=3)
    assert all(len(set(folds[subjects == name])) == 1 for name in set(subjects))
    sizes = [len(set(subjects[folds == fold])) for fold in set(folds)]
    assert len(sizes) == min(n_folds, n_subjects) and max(sizes) - min(sizes) <= 1


def test_assign_folds_follows_the_seed_alone():
    subjects = np.repeat([f"S{i}" for i in range(20)], 2)
    assert (assign_folds(subjects, 4, 0) == assign_folds(subjects, 4, 0)).all()
    assert (assign_folds(subjects, 4, 0) != assign_folds(subjects, 4, 1)).any()


def test_hold_out_takes_whole_subjects_and_leaves_some():
    subjects = np.repeat([f"S{i}" for i in range(7)], 3)
    held = hold_out(subjects, 3, 0)
    assert set(subjects[held]).isdisjoint(subjects[~held]) and len(set(subjects[held])) == 3
    assert not hold_out(np.repeat("S1", 5), 3, 0).any()
