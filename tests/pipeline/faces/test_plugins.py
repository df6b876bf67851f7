"""A detector that another package brings, found by its entry point: the example of docs/detectors.md."""

import re
import sys
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from tclr.pipeline.faces import ensure_models, open_detector
from tclr.pipeline.faces.detector import known_detectors
from tclr.pipeline.preprocessing import extract_clip, survey_clip
from tclr.pipeline.sources import find_clips
from tclr.pipeline.store import Store
from tclr.pipeline.store.damage import verify_clip
from tclr.schemas.config import AlignConfig, DetectConfig, PreprocessConfig
from tclr.schemas.errors import ModelError, SettingError

DOCS = Path(__file__).resolve().parents[3] / "docs" / "detectors.md"


@pytest.fixture
def bright_patch(tmp_path, monkeypatch):
    """An installed package with one module and one entry point."""
    site = tmp_path / "site"
    (site / "bright_patch-1.0.dist-info").mkdir(parents=True)
    (site / "bright_patch.py").write_text(re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1])
    (site / "bright_patch-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bright-patch\nVersion: 1.0\n"
    )
    points = "[tclr.detectors]\nbright-patch = bright_patch:BrightPatch\n"
    (site / "bright_patch-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("bright_patch", None)


def test_open_detector_finds_another_packages_backend(bright_patch):
    assert known_detectors() == ["bright-patch", "face-alignment", "landmarker", "mediapipe"]
    with closing(open_detector(DetectConfig(detector="bright-patch"))) as detector:
        assert detector.name == "bright-patch 1.0"


def test_check_models_calls_its_prepare(bright_patch, monkeypatch):
    import bright_patch as module

    def refuse(config):
        raise ModelError(f"no model for {config.detector}")

    monkeypatch.setattr(module.BrightPatch, "prepare", staticmethod(refuse))
    with pytest.raises(ModelError, match="no model for bright-patch"):
        ensure_models(DetectConfig(detector="bright-patch"))
    monkeypatch.delattr(module.BrightPatch, "prepare")
    monkeypatch.setattr(module.BrightPatch, "__init__", lambda self, config, **options: refuse(config))
    with pytest.raises(ModelError, match="no model for bright-patch"):
        ensure_models(DetectConfig(detector="bright-patch"))


def test_clip_with_five_landmarks_becomes_a_store(bright_patch, tmp_path):
    (tmp_path / "in" / "anna" / "a").mkdir(parents=True)
    for number in range(6):
        image = np.full((120, 160, 3), 20, np.uint8)
        image[30:100, 40 + number : 110 + number] = 250
        cv2.imwrite(str(tmp_path / "in" / "anna" / "a" / f"{number:04d}.png"), image)
    (clip,) = find_clips(tmp_path / "in")
    for template in ("tclr", "arcface"):
        part = tmp_path / template / "subjects" / "anna.h5"
        align = AlignConfig(size=32, template=template, smooth_s=0)
        extract_clip(survey_clip(clip, PreprocessConfig(DetectConfig(detector="bright-patch"), align)), part)
        with Store(tmp_path / template) as store:
            (info,) = store.clips
            verify_clip(store, info)
            assert info.attrs.detector == "bright-patch 1.0" and info.attrs.n_ok == 6
            landmarks, transform = store.read(info, "landmarks"), store.read(info, "transform")
            assert landmarks.shape == (6, 5, 3) and "blendshapes" not in store.fields(info)
            np.testing.assert_allclose(np.diff(landmarks[:, 2, 0]), 1)
            nose = np.einsum("tij,tj->ti", transform[:, :, :2], landmarks[:, 2, :2]) + transform[:, :, 2]
            np.testing.assert_allclose(nose, np.broadcast_to(nose[0], nose.shape), atol=1e-4)


@pytest.mark.parametrize("call", [open_detector, ensure_models])
def test_unknown_detector_is_refused_with_those_known(call):
    with pytest.raises(SettingError, match="'nobodys'. Known detectors: face-alignment, landmarker, mediapipe"):
        call(DetectConfig(detector="nobodys"))
