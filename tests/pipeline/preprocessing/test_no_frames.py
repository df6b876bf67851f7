"""Stores without crops: what they hold, and what becomes of everything that reads a store."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.au import fit_au
from tclr.pipeline.encoder import load_encoder, save_encoder
from tclr.pipeline.evaluation import Evaluation, run_ablation
from tclr.pipeline.export import embed
from tclr.pipeline.preprocessing import extract_clip, survey_clip, tracks
from tclr.pipeline.pretraining import Trainer
from tclr.pipeline.sources import find_clips
from tclr.pipeline.store import Store, summarise_store
from tclr.pipeline.store.checksums import seal_clip, seal_root
from tclr.pipeline.store.damage import verify_clip
from tclr.pipeline.views.overlay.rows import open_clips
from tclr.pipeline.views.report import write_report
from tclr.pipeline.views.viewer import ViewerClips
from tclr.schemas.config import (
    AlignConfig,
    DetectConfig,
    EmbedConfig,
    EvaluateConfig,
    FitAuConfig,
    PreprocessConfig,
    PretrainConfig,
)
from tclr.schemas.errors import SettingError, StoreError
from tclr.schemas.features import sight_columns

WITHOUT = "Expected crops for an encoder, but F001/T1 of .* was stored without"


@pytest.fixture(scope="module")
def bare(make_store, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("bare") / "store", n_frames=20, no_face=(3,), frames=False)


@pytest.fixture(scope="module")
def twin(make_store, tmp_path_factory):
    """The same store with crops."""
    return make_store(tmp_path_factory.mktemp("twin") / "store", n_frames=20, no_face=(3,))


def arrays(root, without=()):
    with Store(root) as store:
        return {
            (info.name, name): store.read(info, name)
            for info in store.clips
            for name in set(store.fields(info)) - set(without)
        }


def test_default_keeps_the_hash_that_stores_have_had():
    assert AlignConfig().digest() == "1baec34e794ea022"
    assert AlignConfig(frames=True).to_json() == AlignConfig().to_json()
    assert AlignConfig(frames=False).digest() != AlignConfig().digest()
    assert AlignConfig.model_validate_json(AlignConfig(frames=False).to_json()).frames is False


def test_all_but_the_crops_is_there_and_sound(bare, twin):
    found, expected = arrays(bare), arrays(twin, without=["frames"])
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values)
    with Store(bare) as store:
        assert not store.has_frames
        for info in store.clips:
            verify_clip(store, info)


def test_format_is_2_without_crops_and_1_with_them(bare, twin):
    with Store(bare) as without, Store(twin) as with_crops:
        assert without.clips[0].root.format_version == 2
        assert with_crops.clips[0].root.format_version == 1


@pytest.mark.parametrize(("frames", "message"), [(False, "Expected no crops"), (True, "Missing dataset 'frames'")])
def test_verify_compares_crops_with_the_settings(tmp_path, bare, twin, frames, message):
    shutil.copytree(twin if not frames else bare, tmp_path / "store")
    path = tmp_path / "store" / "subjects" / "F001.h5"
    with h5py.File(path, "r+") as file:
        file.attrs["align_config"] = AlignConfig(size=32, frames=frames).to_json()
        seal_clip(file["clips/T1"])
        seal_root(file)
    with Store(path) as store, pytest.raises(StoreError, match=message):
        verify_clip(store, store.clips[0])


def test_crops_are_cut_again_from_stored_landmarks_either_way(tmp_path, moving_portrait, write_video, monkeypatch):
    write_video(tmp_path / "in" / "a.mp4", moving_portrait(6))
    (clip,) = find_clips(tmp_path / "in")
    detect, crops, none = DetectConfig(max_faces=1), AlignConfig(size=48), AlignConfig(size=48, frames=False)
    first, second, third = (tmp_path / name / "subjects" / "a.h5" for name in ("first", "second", "third"))
    extract_clip(survey_clip(clip, PreprocessConfig(detect, crops)), first)
    monkeypatch.setattr(tracks, "open_detector", lambda *args, **options: pytest.fail("detected again"))
    extract_clip(survey_clip(clip, PreprocessConfig(detect, none), first), second)
    extract_clip(survey_clip(clip, PreprocessConfig(detect, crops), second), third)
    assert "frames" not in {name for _, name in arrays(second.parents[1])}
    before, between, after = (arrays(path.parents[1], ["frames"]) for path in (first, second, third))
    for key, values in before.items():
        np.testing.assert_array_equal(between[key], values)
        np.testing.assert_array_equal(after[key], values)
    with Store(second) as store:  # what the overlay draws
        (rows,) = open_clips(clip.path, store, None, None)
        assert rows.view(0, (1, 2, 3), 1.0, landmarks=True).landmarks.shape == (478, 2)
    with Store(first) as old, Store(third) as new:
        assert old.read_crops(old.clips[0]).any(axis=(1, 2, 3)).all()
        np.testing.assert_array_equal(old.read_crops(old.clips[0]), new.read_crops(new.clips[0]))


def test_embed_gives_all_columns_that_need_no_picture(bare, twin, tmp_path):
    config = EmbedConfig(embedding="none", blendshapes=True, hidden="keep")
    for store in (bare, twin):
        embed(store, tmp_path / store.parent.name, None, config, au_model="blendshapes")
    without, with_crops = (pd.read_parquet(tmp_path / store.parent.name) for store in (bare, twin))
    assert (without["confidence"] >= with_crops["confidence"])[without["confidence"].notna()].all()  # more is known
    alike = without.columns.drop("confidence")
    pd.testing.assert_frame_equal(without[alike], with_crops[alike])
    assert set(with_crops.columns) - set(without.columns) == {*sight_columns()}
    assert {"AU12", "pitch", "bs_jawOpen", "AU01_true"} <= set(without.columns)


def test_whatever_runs_an_encoder_says_that_there_are_no_crops(bare, tmp_path):
    encoder = load_encoder("random")
    run = PretrainConfig(batch_size=2, n_following=3, image_size=32)
    variants = {"epochs": 1, "batch_size": 2, "n_following": 3, "image_size": 32}
    for refused in (
        lambda: embed(bare, tmp_path / "f", encoder, EmbedConfig()),
        lambda: Trainer(bare, run, None),
        lambda: fit_au(bare, encoder, tmp_path / "h", FitAuConfig()),
        lambda: fit_au(bare, encoder, tmp_path / "h", FitAuConfig(head="finetune")),
        lambda: list(run_ablation(bare, bare, tmp_path / "a", ["tclr"], [0], variants)),
    ):
        with pytest.raises(StoreError, match=WITHOUT):
            refused()
    assert not (tmp_path / "f").exists() and not (tmp_path / "h").exists()
    with Store(bare) as store, pytest.raises(StoreError, match=WITHOUT):
        store.read_crops_at(store.clips[0], np.array([0]))


def test_evaluate_offers_the_rows_that_need_no_picture(bare, tmp_path):
    folds = tmp_path / "folds.csv"
    folds.write_text("subject,fold\nF001,1\nF002,2\nF003,3\n")
    prepared = Evaluation([bare], str(folds), "random", EvaluateConfig(), FitAuConfig())
    assert {"landmarks", "blendshapes"} <= set(prepared.methods) and "random" not in prepared.methods
    own = load_encoder("random")
    save_encoder(tmp_path / "own.safetensors", own.model, own.info)
    with pytest.raises(SettingError, match="'encoder' cannot be done: not all clips have crops.* --methods .*land"):
        Evaluation([bare], str(folds), str(tmp_path / "own.safetensors"), EvaluateConfig(), FitAuConfig())


def test_pages_show_curves_and_say_that_there_are_no_pictures(bare, tmp_path):
    embed(bare, tmp_path / "features", None, EmbedConfig(embedding="none"))
    page = write_report(bare, tmp_path / "r.html", features=tmp_path / "features").read_text()
    assert "This store has no crops" in page and "data:image/jpeg" not in page and "Aligned face:" not in page
    assert 'id="timeline-3"' in page
    clips = ViewerClips(tmp_path / "features", bare)
    assert clips.summary()["sprite"] is None and len(clips.curves(0)["frame"]) == 20
    with pytest.raises(StoreError, match=WITHOUT):
        clips.sprite(0, 0)
    clips.close()
    assert summarise_store(bare)["has_crops"] is False
