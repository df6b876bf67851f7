"""The landmark network in PyTorch gives what LiteRT gives, alone and in batches, and is asked once for many faces.

No GPU is needed: PyTorch runs on the CPU here, in the same way.
"""

from contextlib import closing

import cv2
import numpy as np
import pytest
import torch

from tclr.cli.main import run
from tclr.pipeline.faces import ensure_models, find_model
from tclr.pipeline.faces.landmarker import landmarker, torch_network
from tclr.pipeline.faces.landmarker.bundle import BLENDSHAPES, LANDMARKS, open_network
from tclr.pipeline.faces.landmarker.landmarker import FaceLandmarker
from tclr.pipeline.faces.landmarker.torch_network import TorchNetwork, run_exactly
from tclr.pipeline.faces.small_faces import SmallFaceDetector
from tclr.schemas.config import DetectConfig
from tclr.schemas.errors import ModelError, SettingError

STEP = 3
"""Pictures per pass here: a CPU takes long for 16."""


@pytest.fixture(autouse=True)
def short_steps(monkeypatch):
    monkeypatch.setattr(torch_network, "STEP", STEP)


@pytest.fixture(scope="module")
def network():
    return TorchNetwork(find_model(), LANDMARKS, torch.device("cpu"))


@pytest.fixture
def heads(portrait):
    """Three pictures with a face, and one without, of different sizes."""
    head = portrait[:300, 80:380]
    return [head, np.zeros((200, 240, 3), np.uint8), np.ascontiguousarray(head[:, ::-1]), cv2.resize(head, (200, 200))]


class Counted:
    """A network that counts calls and pictures."""

    def __init__(self, network):
        self.network, self.sizes = network, []

    def __call__(self, values):
        self.sizes.append(len(values))
        return self.network(values)


@pytest.fixture
def in_torch(network, monkeypatch):
    """Open landmarkers with the network in PyTorch; return its count of calls."""
    counted = Counted(network)
    monkeypatch.setattr(landmarker, "open_landmark_network", lambda bundle, device: counted)
    return counted


def test_outputs_equal_those_of_litert(network, heads):
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3))
    pictures = np.stack([cv2.resize(heads[0], (256, 256)), cv2.resize(heads[3], (256, 256)), noise])
    values = pictures.astype(np.float32) / 255
    points, logits, _ = network(values)
    expected_points, expected_logits, _ = open_network(find_model(), LANDMARKS)(values)
    np.testing.assert_allclose(points, expected_points, atol=0.005)  # pixels of 256
    np.testing.assert_allclose(logits, expected_logits, atol=0.005)
    assert points.shape == (3, 1434) and points.std() > 10


def test_an_output_depends_on_its_own_picture_alone(network):
    values = np.random.default_rng(0).random((STEP + 2, 256, 256, 3), np.float32)
    together = network(values)
    for place in (0, STEP - 1, STEP + 1):
        for one, alone in zip(together, network(values[place : place + 1]), strict=True):
            np.testing.assert_array_equal(one[place], alone[0])


def test_a_gpu_uses_cudnn_in_float32():
    with run_exactly(allow_tf32=False):
        assert torch.backends.cudnn.enabled and not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.deterministic and torch.is_inference_mode_enabled()


def test_stills_are_looked_at_in_one_call(in_torch, heads, monkeypatch):
    config = DetectConfig()
    with closing(FaceLandmarker(config, video=False, n_faces=4)) as detector:
        found = SmallFaceDetector(detector, video=False).detect(heads, [0.0] * 4)
        assert len(in_torch.sizes) == 1
    monkeypatch.undo()
    with closing(FaceLandmarker(config, video=False, n_faces=4)) as detector:
        expected = detector.detect(heads, [0.0] * 4)
    assert [len(faces) for faces in found] == [len(faces) for faces in expected] == [1, 0, 1, 1]
    for ours, theirs in zip(found, expected, strict=True):
        for face, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(face.landmarks, other.landmarks, atol=0.01)
            np.testing.assert_allclose(face.blendshapes, other.blendshapes, atol=0.001)


def test_faces_of_a_frame_are_looked_at_in_one_call(in_torch, heads):
    pair = np.hstack([heads[0], heads[2]])
    with closing(FaceLandmarker(DetectConfig(), video=True, n_faces=2)) as detector:
        assert [len(faces) for faces in detector.detect([pair] * 3, [0, 1, 2])] == [2, 2, 2]
    assert in_torch.sizes == [2, 2, 2]


def test_tiles_are_looked_at_in_one_call(in_torch, heads):
    large = np.full((1080, 1920, 3), 128, np.uint8)
    large[500:620, 700:820] = cv2.resize(heads[0], (120, 120), interpolation=cv2.INTER_AREA)
    with closing(SmallFaceDetector(FaceLandmarker(DetectConfig(), video=False, n_faces=4), video=False)) as detector:
        (face,) = detector.look(large)
    assert abs(face.bbox[:2] - [700, 500]).max() < 60
    assert len(in_torch.sizes) == 2  # all tiles, then a window around the face


def test_a_network_with_other_operators_is_refused():
    with pytest.raises(ModelError, match="face_blendshapes.tflite has CONCATENATION"):
        TorchNetwork(find_model(), BLENDSHAPES, torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_one_line(tmp_path, capsys, portrait):
    with pytest.raises(SettingError, match="Expected a GPU for --device cuda, but PyTorch finds none"):
        ensure_models(DetectConfig(device="cuda"))
    ensure_models(DetectConfig(device="cuda", detector="mediapipe"))  # ignores it
    cv2.imwrite(str(tmp_path / "face.png"), portrait[..., ::-1])
    assert run(["preprocess", str(tmp_path / "face.png"), str(tmp_path / "store"), "--device", "cuda"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("Use --device cpu.")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_landmarks_equal_those_of_the_cpu(heads):
    found = []
    for device in ("cpu", "cuda"):
        with closing(FaceLandmarker(DetectConfig(device=device), video=False, n_faces=1)) as detector:
            found.append(detector.detect(heads, [0.0] * 4))
    for ours, theirs in zip(*found, strict=True):
        for face, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(face.landmarks, other.landmarks, atol=0.05)
