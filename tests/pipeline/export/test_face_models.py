"""The default AU models, of shape and pixels: when each is taken, and that it gives what it says."""

import json
import shutil
from functools import partial

import h5py
import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.au import BOX, FACE, SHAPE, describe_by, load_head
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.export import embed
from tclr.pipeline.export.au_source import resolve_au_model
from tclr.pipeline.export.sight import Sight, rate_confidence
from tclr.pipeline.faces import turn_points
from tclr.pipeline.features import load
from tclr.pipeline.geometry import head_pose, is_turned, measure_faces
from tclr.pipeline.store import Store
from tclr.pipeline.system import read_metadata
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import StoreError
from tclr.schemas.features import EMBEDDING, HIDDEN_BELOW, LEAST_CONTRAST, eye_columns
from tclr.schemas.store import Status

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


def test_a_head_of_your_own_that_needs_no_encoder_has_the_bundled_one_beside_it(store, without_crops, tmp_path):
    own = shutil.copy(SHAPE, tmp_path / "own.safetensors")
    embed(store, tmp_path / "features", None, keep_guesses(), au_model=own)
    table = pd.read_parquet(next((tmp_path / "features").rglob("*.parquet")))
    n_columns = sum(name.startswith(EMBEDDING) for name in table)
    assert n_columns == load_encoder(BOX).embedding_dim and "AU12" in table
    with pytest.raises(StoreError, match="no crops|frames"):
        embed(without_crops, tmp_path / "none", None, keep_guesses(), au_model=own)


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


def test_gaze_openness_and_place_come_from_the_landmarks(store, tmp_path):
    embed(store, tmp_path, None, keep_guesses(embedding="none", landmarks=True))
    table = pd.read_parquet(next(tmp_path.rglob("*.parquet")))
    with Store(store) as opened:
        info = opened.clips[0]
        face, landmarks = opened.face_mask(info), opened.read(info, "landmarks")
        expected = measure_faces(landmarks[face], info.attrs.width, info.attrs.height)
    np.testing.assert_allclose(table[["open_left", "open_right"]][face], expected.openness, atol=1e-6)
    gaze = table[["gaze_left_yaw", "gaze_right_yaw", "gaze_yaw"]][face].to_numpy(float)
    np.testing.assert_allclose(gaze, expected.gaze_yaw, atol=1e-6)
    np.testing.assert_allclose(table[["head_x", "head_y", "head_z"]][face], expected.place, rtol=1e-5)
    points = np.stack([table[f"lm_{axis}_{number:03d}"] for axis in "xy" for number in (0, 477)], axis=1)
    np.testing.assert_array_equal(points[face], landmarks[face][:, [0, 477], :2].transpose(0, 2, 1).reshape(-1, 4))
    assert table.loc[~face, [*eye_columns(), "head_z", "confidence", "lm_x_000"]].isna().all(axis=None)


def test_columns_of_hidden_eyes_are_null_unless_guesses_are_kept(store, tmp_path):
    columns = "open_*,gaze_*,visible_eyes,head_z"
    for hidden in ("null", "keep"):
        embed(store, tmp_path / hidden, None, EmbedConfig(embedding="none", columns=columns, hidden=hidden))
    null, keep = (load(tmp_path / hidden) for hidden in ("null", "keep"))
    assert (unseen := null["visible_eyes"] < HIDDEN_BELOW).any()  # painted squares
    assert null.loc[unseen, eye_columns()].isna().all(axis=None)
    assert keep.loc[unseen, ["open_left", "head_z"]].notna().all(axis=None) and null.loc[unseen, "head_z"].notna().all()


def test_geometry_of_a_turned_clip_is_upright_and_landmarks_are_as_shown(make_store, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=1, n_landmarks=478)
    with h5py.File(store / "subjects/F001.h5", "r+") as file:
        clip = next(iter(file["clips"].values()))
        clip.attrs["rotation"], (width, height) = 90, (clip.attrs["width"], clip.attrs["height"])
        landmarks = clip["landmarks"][:]
    embed(store, tmp_path / "out", None, keep_guesses(embedding="none", landmarks=True))
    table = load(tmp_path / "out")
    expected = measure_faces(turn_points(landmarks, 90, width, height), height, width)
    np.testing.assert_allclose(table[["head_x", "head_y", "head_z"]], expected.place, rtol=1e-4)
    np.testing.assert_allclose(table["pitch"], expected.pose[:, 0], atol=1e-5)
    np.testing.assert_array_equal(table["lm_y_001"], landmarks[:, 1, 1])


def test_confidence_is_the_worst_of_what_is_known():
    n = 7
    sight = Sight.of_nothing(n)
    sight.visible[:], sight.light[:] = 1, 0.1
    sight.visible[4, 3], sight.light[5, 1] = 0.1, LEAST_CONTRAST / 5
    status = np.full(n, Status.ok)
    status[2], status[6] = Status.low_confidence, Status.interpolated
    score, pose = np.full(n, 0.9), np.zeros((n, 3))
    score[1], pose[3, 1] = 0.6, np.radians(70)
    found = rate_confidence(status, score, pose, sight)
    np.testing.assert_allclose(found, [1, 2 / 7, 0.25, 0.1, 0.1, 0.2, 0.5], atol=1e-6)
    unknown = rate_confidence(status, np.full(n, np.nan), np.full((n, 3), np.nan), Sight.of_nothing(n))
    np.testing.assert_allclose(unknown, [1, 1, 0.25, 1, 1, 1, 0.5])


def test_clips_of_several_detectors_have_no_landmark_columns(make_store, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=1, n_landmarks=478)
    other = make_store(tmp_path / "other", n_subjects=2, n_landmarks=68)
    shutil.copy(other / "subjects/F002.h5", store / "subjects/F002.h5")
    with pytest.raises(StoreError, match="equally many landmarks for --landmarks, but got 68 in F002"):
        embed(store, tmp_path / "out", None, keep_guesses(embedding="none", landmarks=True), au_model="shape")
