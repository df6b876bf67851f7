"""The default AU models, of shape and pixels: when each is taken, and that it gives what it says."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.au import BOX, FACE, SHAPE, describe_by, load_head
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.export import embed
from tclr.pipeline.export.au_source import resolve_au_model
from tclr.pipeline.geometry import head_pose, is_turned
from tclr.pipeline.store import Store
from tclr.pipeline.system import read_metadata
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import StoreError

keep_guesses = partial(EmbedConfig, hidden="keep")
"""Settings of an export: painted squares are no faces, of which something could be hidden."""
N_FRAMES = 30
MODELS = {"face": FACE, "shape": SHAPE}


@pytest.fixture(scope="module")
def store(make_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces") / "store"
    return make_store(folder, n_subjects=2, n_frames=N_FRAMES, no_face=(4, 5), n_landmarks=478, size=64)


@pytest.fixture(scope="module")
def without_crops(make_store, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("shapes") / "store", n_subjects=1, frames=False, n_landmarks=478)


@pytest.mark.parametrize("name", MODELS)
def test_bundled_heads_are_small_and_whole(name):
    path = MODELS[name]
    head = load_head(path)
    assert path.stat().st_size < 3e6 and head.inputs == name and head.encoder is None
    assert {"AU01", "AU12", "AU18", "AU22", "AU28", "AU43"} <= set(head.au_names) and len(head.au_names) == 21
    assert head.readout.has_intensity.all() and head.rest is not None
    assert all(score.roc_auc is not None and score.roc_auc > 0.65 for score in head.scores)


@pytest.mark.parametrize("name", MODELS)
def test_embed_writes_what_the_head_says_of_its_inputs(name, store, tmp_path):
    head, describe = load_head(MODELS[name]), describe_by(name, load_encoder(BOX))
    config = keep_guesses(embedding="none")
    assert embed(store, tmp_path, None, config, au_model="auto" if name == "face" else name).au_source.startswith(name)
    file = next(tmp_path.rglob("*.parquet"))
    table = pd.read_parquet(file)
    with Store(store) as opened:
        info = opened.clips[0]
        face = opened.face_mask(info)
        expected = head.readout.predict(describe(opened, info, 0, N_FRAMES)[face])
        pose = head_pose(opened.read(info, "landmarks")[face])
    for column, au in enumerate(head.au_names):
        np.testing.assert_allclose(table[au][face], expected.probability[:, column], atol=1e-5)
        np.testing.assert_allclose(table[f"{au}_r"][face], expected.intensity[:, column], atol=1e-4)
        present = expected.probability[:, column] >= head.threshold[column]
        assert (table[f"{au}_c"][face].astype(bool).to_numpy() == present).mean() > 0.99
    assert table["AU12"][~face].isna().all()
    both = (table["AU12_left_r"] + table["AU12_right_r"]) / 2
    np.testing.assert_allclose(both[face], table["AU12_r"][face], atol=1e-5)
    assert "AU25_left_r" not in table  # lips part in the middle
    np.testing.assert_allclose(table[["pitch", "yaw", "roll"]][face], pose, atol=1e-5)
    np.testing.assert_array_equal(table["turned"][face].astype(bool), is_turned(pose, table["score"][face].to_numpy()))
    assert table["turned"][~face].isna().all()
    metadata = read_metadata(file)
    assert metadata["pose"] == "landmarks:v1" and metadata["au_head"]["inputs"] == name
    assert json.dumps(metadata["au_thresholds"])


def test_auto_takes_shape_where_there_are_no_crops_and_names_are_checked(store, without_crops, make_store, tmp_path):
    with Store(store) as opened:
        assert resolve_au_model(opened, "auto", False) == FACE
        assert resolve_au_model(opened, "auto", True) == SHAPE  # face needs the bundled encoder
        assert resolve_au_model(opened, "shape", True) == SHAPE
    with Store(without_crops) as opened:
        assert resolve_au_model(opened, "auto", False) == SHAPE
        with pytest.raises(StoreError, match="crops"):
            resolve_au_model(opened, "face", False)
    result = embed(without_crops, tmp_path / "features", None, keep_guesses(embedding="none"))
    assert result.au_source.startswith("shape") and not result.failures


def test_the_same_inputs_give_the_same_file_on_a_cluster(store, tmp_path):
    config = keep_guesses(embedding="none")
    here, there = (
        embed(store, tmp_path / name, None, config, workers=workers) for name, workers in (("here", 0), ("there", 2))
    )
    for file in sorted((tmp_path / "here").rglob("*.parquet")):
        other = tmp_path / "there" / file.relative_to(tmp_path / "here")
        pd.testing.assert_frame_equal(pd.read_parquet(file), pd.read_parquet(other))
    assert here.n_rows == there.n_rows == 2 * N_FRAMES


def test_a_single_picture_has_closed_eyes_but_no_blink(make_store, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=1, n_frames=1, n_landmarks=478, size=64)
    embed(store, tmp_path / "features", None, keep_guesses(embedding="none"), au_model="shape")
    table = pd.read_parquet(tmp_path / "features")
    assert table["AU43"].notna().all() and table[["AU45", "AU45_c", "AU45_r"]].isna().all(axis=None)
