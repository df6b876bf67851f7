from dataclasses import replace

import pytest

from tclr.pipeline.evaluation.protocols import Split, StoreFacts, plan_evaluation, read_folds
from tclr.schemas.errors import InputError, SettingError
from tclr.schemas.protocols import FOLD_PROTOCOLS


def facts(dataset, subjects, aus=("AU01", "AU02", "AU12"), shards=()):
    return StoreFacts(f"{dataset}/", dataset, frozenset(aus), frozenset(subjects), frozenset(shards))


BP4D = FOLD_PROTOCOLS["bp4d-3fold"]
WHOLE_BP4D = facts("bp4d", BP4D.subjects, BP4D.au_names)


@pytest.mark.parametrize(
    ("name", "n_subjects", "sizes", "n_aus", "first", "last"),
    [
        ("bp4d-3fold", 41, (13, 14, 14), 12, "F007", "F001"),
        ("disfa-3fold", 27, (9, 9, 9), 8, "SN003", "SN002"),
    ],
)
def test_named_protocols_are_those_of_the_literature(name, n_subjects, sizes, n_aus, first, last):
    protocol = FOLD_PROTOCOLS[name]
    plan = plan_evaluation(name, [facts(protocol.dataset, protocol.subjects, protocol.au_names)])
    assert len(protocol.subjects) == n_subjects and tuple(len(split.test) for split in plan.splits) == sizes
    assert len(plan.au_names) == n_aus and [split.name for split in plan.splits] == ["1", "2", "3"]
    assert first in plan.splits[0].test and last in plan.splits[2].test  # fold 1 tests on C, 3 on A
    for split in plan.splits:
        assert not split.train & split.test and split.train | split.test == protocol.subjects
    assert plan.published and set(plan.published) == {"FMAE-IAT", "AU-Net"}
    fewer = plan_evaluation(name, [facts(protocol.dataset, protocol.subjects, protocol.au_names[1:])])
    assert not fewer.published  # their mean is over all AUs


def test_part_of_a_dataset_is_noted_and_has_no_published_figures_beside_it():
    plan = plan_evaluation("bp4d-3fold", [facts("bp4d", ["F001", "F002", "M003", "F003", "F999"])])
    assert not plan.published and plan.au_names == ("AU01", "AU02", "AU12")
    assert plan.splits[0].test == {"M003"} and plan.splits[0].train == {"F001", "F002", "F003"}
    notes = " ".join(plan.notes)
    assert "4 of the protocol's 41 subjects" in notes and "left out, as no part of the protocol has them: F999" in notes
    assert "without AU04, AU06" in notes


def test_a_subject_on_both_sides_and_an_empty_side_are_errors():
    with pytest.raises(InputError, match="F001 trains and is tested in fold 'x'"):
        Split("x", frozenset({"F001", "F002"}), frozenset({"F001"}))
    with pytest.raises(InputError, match="Expected someone to test in fold '1', but the store has none"):
        plan_evaluation("bp4d-3fold", [facts("bp4d", ["F001", "F003"])])
    with pytest.raises(InputError, match="someone to train on in fold '1'"):
        plan_evaluation("bp4d-3fold", [facts("bp4d", ["F007"])])


def test_wrong_dataset_and_unknown_protocols_are_errors():
    with pytest.raises(InputError, match="store of disfa for protocol disfa-3fold, but bp4d/ is of bp4d"):
        plan_evaluation("disfa-3fold", [WHOLE_BP4D])
    with pytest.raises(SettingError, match="Known protocols: bp4d-3fold, disfa-3fold, emotionet, cross:TRAIN:TEST"):
        plan_evaluation("bp4d", [WHOLE_BP4D])
    with pytest.raises(InputError, match="Expected one store .* but got 2"):
        plan_evaluation("bp4d-3fold", [WHOLE_BP4D, WHOLE_BP4D])
    with pytest.raises(InputError, match="labels of AU01, .* has none of them. It has: AU43"):
        plan_evaluation("bp4d-3fold", [replace(WHOLE_BP4D, au_names=frozenset({"AU43"}))])


def test_folds_of_your_own(tmp_path):
    table = tmp_path / "folds.csv"
    table.write_text("fold,subject,age\nold,anna,70\nyoung,ben,20\nold,carl,66\nyoung,ben,20\n")
    assert read_folds(table) == {"old": ["anna", "carl"], "young": ["ben"]}
    plan = plan_evaluation(str(table), [facts("folder", ["anna", "ben", "carl", "dora"])])
    assert [(split.name, split.train, split.test) for split in plan.splits] == [
        ("old", {"ben"}, {"anna", "carl"}),
        ("young", {"anna", "carl"}, {"ben"}),
    ]
    assert plan.notes == ("left out, as folds.csv does not name them: dora",) and plan.protocol == "folds.csv"
    with pytest.raises(InputError, match="got 'anna' in .*folds.csv. Known subjects: ben, carl"):
        plan_evaluation(str(table), [facts("folder", ["ben", "carl"])])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,fold\nanna,1\nanna,2\n", "anna is in '1' and '2'"),
        ("subject,fold\nanna,1\nben,\n", "line 3"),
        ("person,fold\nanna,1\n", "columns 'subject,fold'"),
        ("subject,fold\nanna,1\nben,1\n", "two folds or more, but got 1"),
    ],
)
def test_wrong_tables_of_folds_are_errors(tmp_path, text, message):
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(SettingError, match=message):
        read_folds(tmp_path / "folds.csv")
    with pytest.raises(SettingError, match="cannot read"):
        read_folds(tmp_path / "absent.csv")


def test_emotionet_splits_shards_by_their_names_alone():
    shards = [f"folder{i % 4}/shard{i:04d}" for i in range(300)]
    plan = plan_evaluation("emotionet", [facts("emotionet", [], shards=shards)], n_folds=5)
    fewer = plan_evaluation("emotionet", [facts("emotionet", [], shards=shards[:200][::-1])], n_folds=5)
    assert plan.unit == "shard" and len(plan.splits) == 5
    assert frozenset().union(*(split.test for split in plan.splits)) == set(shards)
    for split, smaller in zip(plan.splits, fewer.splits, strict=True):
        assert smaller.test == split.test & set(shards[:200]) and 35 <= len(split.test) <= 85
    assert "not the challenge's split" in plan.notes[0]


@pytest.mark.parametrize("text", ["cross:bp4d:disfa", "cross:bp4d->disfa"])
def test_cross_trains_on_one_dataset_and_tests_on_another(text):
    disfa = facts("disfa", ["SN001", "F001"], ("AU12", "AU15", "AU25", "AU01"))
    bp4d = facts("bp4d", ["F001"], ("AU01", "AU12", "AU15"))  # DISFA's protocol does not score AU15
    plan = plan_evaluation(text, [bp4d, disfa])
    assert plan.protocol == "cross:bp4d->disfa" and plan.au_names == ("AU01", "AU12")
    (split,) = plan.splits
    assert split.train == {"bp4d/F001"} and split.test == {"disfa/F001", "disfa/SN001"}  # F001 is another person there


def test_cross_refuses_other_stores_shared_subjects_and_no_common_au():
    bp4d, disfa = facts("bp4d", ["F001"]), facts("disfa", ["SN001"], ("AU25",))
    with pytest.raises(InputError, match=r"of bp4d and of disfa in this order, but got disfa/ \(disfa\), bp4d/"):
        plan_evaluation("cross:bp4d:disfa", [disfa, bp4d])
    with pytest.raises(InputError, match="bp4d/F001 trains and is tested"):
        plan_evaluation("cross:bp4d:bp4d", [bp4d, facts("bp4d", ["F001", "F002"])])
    with pytest.raises(InputError, match="share none"):
        plan_evaluation("cross:bp4d:disfa", [bp4d, disfa])
    with pytest.raises(SettingError, match="Expected cross:TRAIN:TEST"):
        plan_evaluation("cross:bp4d", [bp4d, disfa])
