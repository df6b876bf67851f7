"""What cannot be seen of a face is said: a covered mouth and a dark picture on the path from video to features."""

import cv2
import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.export import embed
from tclr.pipeline.features import FeatureClips, measure_sight
from tclr.pipeline.preprocessing import preprocess
from tclr.pipeline.store import Store
from tclr.schemas.config import AlignConfig, EmbedConfig, PreprocessConfig
from tclr.schemas.features import sight_columns, visible_columns

N_FRAMES = 12
COVERED = slice(4, 10)
MOUTH_AUS = ["AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU25", "AU26"]


@pytest.fixture(scope="module")
def store(tmp_path_factory, moving_portrait, write_video):
    """A clean clip, the same with a skin-coloured blob before the mouth in some frames, and the same in the dark."""
    folder = tmp_path_factory.mktemp("sight")
    clean = moving_portrait(N_FRAMES)
    covered = [image.copy() for image in clean]
    for number in range(*COVERED.indices(N_FRAMES)):
        cv2.ellipse(covered[number], (125 - number % 20, 172), (38, 30), 0, 0, 360, (214, 160, 140), -1)
    write_video(folder / "videos/anna/clean.mp4", clean)
    write_video(folder / "videos/anna/covered.mp4", covered)
    write_video(folder / "videos/anna/dark.mp4", [(image * 0.06).astype(np.uint8) for image in clean])
    preprocess(folder / "videos", folder / "store", PreprocessConfig(align=AlignConfig(size=160)), workers=1)
    return folder / "store"


def export(store, out, **settings):
    embed(store, out, None, EmbedConfig(embedding="none", **settings))
    return {path.stem: pd.read_parquet(path) for path in sorted(out.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def tables(store, tmp_path_factory):
    return export(store, tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def kept(store, tmp_path_factory):
    return export(store, tmp_path_factory.mktemp("kept"), hidden="keep")


def test_a_covered_mouth_is_flagged_and_its_aus_are_empty(tables):
    table = tables["covered"]
    hidden = (table["visible_mouth"] < 0.5).to_numpy()
    assert hidden[COVERED].all() and not hidden[:4].any() and not hidden[10:].any()
    assert (table["n_hidden"][hidden] >= 1).all() and (table["n_hidden"][~hidden] == 0).all()
    columns = [name + ending for name in MOUTH_AUS for ending in ("", "_c", "_r")]
    assert table.loc[hidden, [*columns, "AU12_left_r"]].isna().all(axis=None)
    assert table.loc[~hidden, columns].notna().all(axis=None)
    assert table.loc[hidden, ["AU01", "AU01_c", "AU45", "yaw"]].notna().all(axis=None)


def test_clean_frames_keep_every_au_and_hidden_ones_on_request(tables, kept):
    clean, all_kept = tables["clean"], kept["covered"]
    assert (clean[visible_columns()] > 0.5).all(axis=None) and (clean["n_hidden"] == 0).all()
    pd.testing.assert_frame_equal(clean, kept["clean"])
    assert all_kept[MOUTH_AUS].notna().all(axis=None)
    assert (all_kept["visible_mouth"] < 0.5).sum() == 6


def test_a_dark_face_is_of_low_confidence(tables):
    dark, clean = tables["dark"], tables["clean"]
    face = dark["score"].notna()
    assert face.any() and (dark["score"][face] < 0.4).all() and (dark["status"][face] == "low_confidence").all()
    assert (clean["score"] > 0.6).all() and (clean["status"] == "ok").all()
    assert (dark["contrast"][face] < 0.025).all() and (clean["contrast"] > 0.05).all()
    assert dark["brightness"][face].mean() == pytest.approx(0.06 * clean["brightness"].mean(), abs=0.02)


def test_hidden_frames_are_counted(store, tables, tmp_path):
    result = embed(store, tmp_path, None, EmbedConfig(embedding="none"))
    assert any(warning.startswith("Hidden mouth in") for warning in result.warnings)
    table = measure_sight(FeatureClips(tmp_path)).set_index("clip")
    assert table.loc["covered", "mouth"] == pytest.approx(6 / 12) and table.loc["clean", "mouth"] == 0
    assert table.loc["dark", "dim"] == 1


def test_crops_of_another_alignment_are_not_judged(store, tmp_path):
    videos = store.parent / "videos"
    preprocess(
        videos, tmp_path / "arcface", PreprocessConfig(align=AlignConfig(size=64, template="arcface")), workers=1
    )
    with Store(tmp_path / "arcface") as opened:
        assert opened.has_frames
    tables = export(tmp_path / "arcface", tmp_path / "features")
    assert not set(sight_columns()) & set(tables["covered"].columns)
    assert tables["covered"][MOUTH_AUS].notna().all(axis=None)


def test_only_asked_for_columns_are_judged(store, tmp_path):
    table = export(store, tmp_path, columns="visible_mouth,AU12")["covered"]
    assert sorted({*table.columns} - {"subject"}) == ["AU12", "clip", "frame", "timestamp", "visible_mouth"]
    assert (table["AU12"].isna() == (table["visible_mouth"] < 0.5)).all()
