"""``tclr.fit_au``: heads on labels of one's own."""

import numpy as np
import pandas as pd
import pytest

import tclr
from tclr.cli.main import run
from tclr.heads import FittedHead
from tclr.pipeline.au import load_head
from tclr.schemas.errors import InputError, OutputError, SettingError


@pytest.fixture(scope="module")
def truth(made):
    """The labels that the store has, as a table of one's own."""
    table = tclr.load_features(made / "features", "AU??_true,clip,frame")
    return table.rename(columns=lambda name: name.replace("_true", "_c"))


@pytest.mark.parametrize("options", [{}, {"inputs": "blendshapes", "folds": 2}])
def test_labels_of_ones_own_give_what_those_of_the_store_give(made, truth, tmp_path, options):
    shuffled = truth.sample(frac=1, random_state=0).astype({"clip": str})
    head = tclr.fit_au(made / "store", shuffled, tmp_path / "own.safetensors", **options)
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    assert run(["fit-au", str(made / "store"), "-o", str(tmp_path / "cli.safetensors"), "-q", *flags]) == 0
    expected = load_head(tmp_path / "cli.safetensors")
    assert load_head(head.path).digest == expected.digest
    assert head.aus == list(expected.au_names) and len(head.scores) == len(head.aus)


def test_labels_come_before_those_of_the_store(made, truth):
    some = truth[truth["frame"] % 2 == 0][["subject", "clip", "frame"]].copy()
    some["AU14_r"] = np.where(np.arange(len(some)) % 4 < 2, 4.0, 0.0)
    scores = tclr.fit_au(made / "store", some, inputs="blendshapes").scores.set_index("name")
    assert set(scores.index) > {"AU14"} and scores["mae"].notna().pipe(lambda has: list(scores.index[has])) == ["AU14"]


@pytest.mark.parametrize("inputs", ["embedding", "blendshapes"])
def test_features_are_enough_and_the_head_predicts_what_one_of_the_store_does(made, truth, tmp_path, inputs):
    head = tclr.fit_au(made / "features", truth, tmp_path / "head.safetensors", inputs=inputs)
    of_store = load_head(tclr.fit_au(made / "store", truth, tmp_path / "store.safetensors", inputs=inputs).path)
    loaded = load_head(head.path)
    assert (loaded.au_names, loaded.inputs) == (of_store.au_names, inputs)
    assert loaded.encoder_digest == of_store.encoder_digest
    np.testing.assert_allclose(loaded.readout.weight, of_store.readout.weight, atol=1e-4)
    given = {"store": made / "store", "hidden": "keep", "columns": "AU12", "progress": False}
    first, second = (tclr.analyse(made / "clips", au_model=model, **given) for model in (head, str(of_store.where)))
    np.testing.assert_allclose(first["AU12"], second["AU12"], atol=1e-4)
    assert first["AU12"].notna().all()


def test_a_head_without_a_file_lasts_as_long_as_its_object(made, truth, tmp_path):
    head = tclr.fit_au(made / "store", truth, inputs="blendshapes")
    path = head.path
    assert load_head(head.save(tmp_path / "copy.safetensors")).digest == load_head(path).digest
    with tclr.Analyser(fps=25, au_model=head, columns="AU12") as analyser:
        assert len(analyser.add(np.zeros((64, 64, 3), np.uint8))) == 1
    del head
    import gc

    gc.collect()
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.drop(columns="frame"), "Expected columns subject, clip, frame"),
        (lambda t: t[["subject", "clip", "frame"]], "AUs such as AU01_c"),
        (lambda t: t.rename(columns={"AU12_c": "AU98_c"}), "AU98_c"),
        (lambda t: t.assign(clip="T9"), "F001/T1 frame 966, but no row fits"),
        (lambda t: t.assign(frame=t["frame"] + 0.5), "whole frame number"),
        (lambda t: t.assign(frame=t["frame"] + 100_000), "no row fits"),
        (lambda t: t.assign(AU12_c=7), "AU12_c to be 0 or 1"),
        (lambda t: t.assign(AU12_c="smile"), "number in column AU12_c"),
        (lambda t: t.assign(subject="nobody"), "no row fits"),
        (lambda t: pd.concat([t, t]), "each frame once"),
        (lambda t: t[:0], "only a header"),
    ],
)
@pytest.mark.parametrize("source", ["store", "features"])
def test_labels_that_do_not_fit_are_errors(made, truth, source, change, reason):
    table = change(truth.astype({"clip": str, "subject": str}))
    with pytest.raises(InputError, match=reason):
        tclr.fit_au(made / source, table, inputs="blendshapes")


def test_what_features_do_not_hold_is_an_error(made, truth, tmp_path):
    with pytest.raises(SettingError, match="Give the store instead"):
        tclr.fit_au(made / "features", truth, inputs="face", head="blend")
    narrow = tmp_path / "narrow"
    tclr.analyse(made / "clips", store=made / "store", features=narrow, hidden="keep", progress=False)
    with pytest.raises(InputError, match="no embedding|no column 'bs_"):
        tclr.fit_au(narrow, truth, inputs="blendshapes")
    with pytest.raises(InputError, match="no embedding"):
        tclr.fit_au(narrow, truth)
    with pytest.raises(SettingError, match="Unknown setting 'fold'"):
        tclr.fit_au(made / "store", truth, fold=3)


@pytest.mark.parametrize("labels", ["labels.csv", {"AU12_c": [1]}, None])
def test_labels_that_are_no_table_are_one_line(labels):
    with pytest.raises(InputError, match="Expected labels as a DataFrame, but got"):
        tclr.fit_au("store", labels)


def test_save_makes_folders_and_says_where_it_cannot_write(tmp_path):
    (tmp_path / "a").write_bytes(b"head")
    head = FittedHead(tmp_path / "a", pd.DataFrame(), {})
    assert head.save(tmp_path / "new" / "b").read_bytes() == b"head"
    with pytest.raises(OutputError, match="Cannot write"):
        head.save(tmp_path / "a" / "below-a-file")
