"""What tclr 0.1.0 wrote opens with equal arrays: stores, features, an encoder, and heads of each kind.

``tests/data/v0_1_0.tar.xz`` holds what its commands made of its demo clips: two subjects with zstd crops, one with JPEG
crops, features, a small encoder (its weights are few and round, so that it packs well), a linear head, an MLP that
reads blendshapes too, and a fine-tuned head. ``sha256.json`` has a digest of every stored array, ``expected.npz`` what
0.1.0 computed.
"""

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.au import load_head
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.export import embed
from tclr.pipeline.features import load
from tclr.pipeline.store import Store, find_damage
from tclr.pipeline.system import read_metadata
from tclr.schemas.config import AlignConfig, DetectConfig, EmbedConfig
from tclr.schemas.features import eye_columns, sight_columns

ARCHIVE = Path(__file__).resolve().parents[1] / "data/v0_1_0.tar.xz"


def digest(array):
    content = f"{array.dtype}{array.shape}" + hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return hashlib.sha256(content.encode()).hexdigest()


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder that 0.1.0 wrote."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "v0_1_0"


@pytest.fixture(scope="module")
def expected(old):
    with np.load(old / "expected.npz") as arrays:
        return dict(arrays)


def crops_of_first_clip(old):
    with Store(old / "store") as store:
        return store.read_crops(store.clips[0])


def test_every_array_of_the_store_is_as_it_was(old):
    sums, seen = json.loads((old / "sha256.json").read_text()), set()
    with Store(old / "store") as store:
        for info in store.clips:
            for field in store.fields(info):
                array = store.read_crops(info) if field == "frames" else store.read(info, field)
                assert digest(array) == sums[f"store/{info.name}/{field}"]
                seen.add(f"store/{info.name}/{field}")
    assert seen == set(sums)


@pytest.mark.parametrize("name", ["store", "store_jpeg"])
def test_the_store_is_found_undamaged(old, name):
    assert all(not report.damage and not report.n_unsealed for report in find_damage(old / name))


def test_jpeg_crops_show_the_same(old):
    with Store(old / "store_jpeg") as jpeg, Store(old / "store") as plain:
        (info,) = jpeg.clips
        same = next(other for other in plain.clips if other.name == info.name)
        apart = np.abs(jpeg.read_crops(info).astype(int) - plain.read_crops(same))
    assert apart.mean() < 4  # quality 95, of 255


def test_the_encoder_gives_the_same_embeddings(old, expected):
    embeddings = load_encoder(old / "encoder.safetensors").embed(crops_of_first_clip(old))
    np.testing.assert_allclose(embeddings, expected["embeddings"], atol=2e-6)  # processors add up in their own order


@pytest.mark.parametrize("name", ["head", "both"])
def test_heads_predict_the_same(old, expected, name):
    head = load_head(old / f"{name}.safetensors")
    with Store(old / "store") as store:
        rows = np.arange(store.clips[0].n_frames)
        predicted = head.predict_rows(store, store.clips[0], rows, expected["embeddings"])
    np.testing.assert_allclose(predicted.probability, expected[f"{name}/probability"], atol=1e-6)
    np.testing.assert_array_equal(head.threshold, expected[f"{name}/threshold"])


def test_a_fine_tuned_head_brings_the_same_encoder(old, expected):
    head = load_head(old / "finetuned.safetensors")
    embeddings = head.encoder.embed(crops_of_first_clip(old))
    np.testing.assert_allclose(embeddings, expected["finetuned/embeddings"], atol=2e-6)
    predicted = head.readout.predict(expected["finetuned/embeddings"])
    np.testing.assert_allclose(predicted.probability, expected["finetuned/probability"], atol=1e-6)


def test_features_load_and_a_new_export_has_the_same_values(old, tmp_path):
    before = load(old / "features")
    encoder = load_encoder(old / "encoder.safetensors")
    config = EmbedConfig(blendshapes=True, hidden="keep")
    embed(old / "store", tmp_path / "features", encoder, config, au_model=old / "head.safetensors")
    after = load(tmp_path / "features")
    pose = ["pitch", "yaw", "roll"]  # was mediapipe's own
    same = [column for column in before.columns if column not in pose]
    pd.testing.assert_frame_equal(after[same], before[same], atol=2e-6, rtol=0)
    new = {"turned", *sight_columns(), "confidence", *eye_columns(), "head_x", "head_y", "head_z"}
    assert set(after.columns) - set(before.columns) == new
    assert (after[pose] - before[pose]).abs().max().max() < 0.15
    first = sorted((old / "features").rglob("*.parquet"))[0]
    assert read_metadata(first)["au_source"] == read_metadata(next(tmp_path.rglob("*.parquet")))["au_source"]


def test_the_same_settings_have_the_same_digest_so_that_nothing_is_done_again(old):
    with Store(old / "store") as store:
        for info in store.clips:
            assert info.root.detect_hash == DetectConfig(detector="mediapipe").digest()  # its default then
            assert info.root.align_hash == AlignConfig(size=32).digest()
