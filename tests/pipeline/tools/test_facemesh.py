"""The encoder that starts from mediapipe's landmark network computes what that network computes."""

import zipfile

import cv2
import numpy as np
import pytest
import torch

from tclr.pipeline.au import collect_frames, no_rows
from tclr.pipeline.faces import find_model
from tclr.pipeline.faces.landmarker.bundle import LANDMARKS
from tclr.pipeline.pretraining import facemesh_weights
from tclr.pipeline.store import Store
from tclr.pipeline.tools.box.facemesh import aim, facemesh_encoder
from tclr.schemas.errors import ModelError

LAST_LAYER = 48
"""Place of the trunk's last activation among those of the network: one of the stem, then two per block."""


@pytest.fixture(scope="module")
def encoder():
    return facemesh_encoder(192, 1.0, seed=0)


def test_the_trunk_is_that_of_opencv(encoder, tmp_path):
    with zipfile.ZipFile(find_model()) as archive:
        file = archive.extract(LANDMARKS, tmp_path)
    network = cv2.dnn.readNetFromTFLite(file, cv2.dnn.ENGINE_CLASSIC)
    activations = [name for name in network.getLayerNames() if network.getLayer(name).type == "PReLU"]
    picture = np.random.default_rng(0).random((1, 3, 256, 256)).astype(np.float32)
    network.setInput(picture)
    theirs = network.forward(activations[LAST_LAYER])
    with torch.inference_mode():
        ours = encoder.model.facemesh.stages(torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_crops_are_read_as_the_network_wants_them(encoder):
    info = encoder.info
    assert (info.mean, info.std, info.image_size, info.supervised) == ((0, 0, 0), (1, 1, 1), 192, False)
    embeddings = encoder.embed(np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3)).astype(np.uint8))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_another_bundle_is_refused(tmp_path):
    path = tmp_path / "bundle.task"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.tflite", b"")
    with pytest.raises(ModelError, match="Expected face_landmarks_detector.tflite in .*bundle.task"):
        facemesh_weights(path)


def test_the_aimed_embedding_ranks_aus_by_itself_and_keeps_the_network(make_store, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=4, n_frames=24, intensity=True, size=64)
    with Store(store) as opened:
        frames = collect_frames(opened, no_rows, 64)
    start = facemesh_encoder(64, 1.0, seed=0)
    before = {name: value.clone() for name, value in start.model.facemesh.stages.state_dict().items()}
    aimed = aim(start, frames)
    for name, value in aimed.model.facemesh.stages.state_dict().items():
        torch.testing.assert_close(value, before[name])
    embeddings = aimed.embed(frames.crops(np.arange(len(frames))))
    for column in range(len(frames.names)):
        known = np.isfinite(frames.intensities[:, column])
        if frames.intensities[known, column].std() > 0:
            assert np.corrcoef(embeddings[known, column], frames.intensities[known, column])[0, 1] > 0.8
