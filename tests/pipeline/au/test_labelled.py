import numpy as np
import pytest

from tclr.pipeline.au import blendshape_rows, collect_frames, embed_rows, landmark_rows
from tclr.pipeline.encoder import EncoderInfo, TorchEncoder, build_encoder
from tclr.pipeline.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def encoder():
    return TorchEncoder(build_encoder(8, seed=0), EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=1.0))


@pytest.fixture(scope="module")
def labelled(make_store, tmp_path_factory):
    """Six subjects; frames 0 and 5 have labels but no face."""
    return make_store(tmp_path_factory.mktemp("labelled"), n_subjects=6, n_frames=24, no_face=(0, 5))


def frames_of(store, encoder):
    with Store(store) as opened:
        return collect_frames(opened, embed_rows(encoder), 7, lambda done, total: None)


def test_collect_frames_takes_labelled_frames_with_a_face(labelled, encoder):
    frames = frames_of(labelled, encoder)
    assert frames.names == ["AU01", "AU12"]
    assert frames.inputs.shape == (6 * 22, 8) and frames.labels.shape == (6 * 22, 2)
    with Store(labelled) as store:
        info = store.clips[1]
        face = store.face_mask(info)
        mine = frames.subjects == info.subject
        np.testing.assert_array_equal(frames.labels[mine], store.read(info, "au")[face])
        whole = encoder.embed(store.read_crops(info)[face])
    np.testing.assert_allclose(frames.inputs[mine], whole, atol=1e-5)


def test_collect_frames_skips_frames_without_any_known_label(make_store, tmp_path, encoder, relabel):
    def change(subject, labels):
        labels[:10] = -1
        labels[10:, 0] = -1

    store = make_store(tmp_path, n_subjects=2, n_frames=16)
    relabel(store, change)
    frames = frames_of(store, encoder)
    assert len(frames.labels) == 2 * 6
    assert (frames.labels[:, 0] == -1).all() and (frames.labels[:, 1] >= 0).all()


def test_collect_frames_reports_progress_to_the_end(labelled, encoder):
    seen = []
    with Store(labelled) as store:
        collect_frames(store, embed_rows(encoder), 10, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6 * 24, 6 * 24) and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_landmarks_are_those_in_the_crop(labelled):
    with Store(labelled) as store:
        info = store.clips[0]
        landmarks = store.read(info, "landmarks", 2, 5)
        np.testing.assert_allclose(landmark_rows(store, info, 2, 5), landmarks[..., :2].reshape(3, -1), rtol=1e-5)
        np.testing.assert_array_equal(blendshape_rows(store, info, 2, 5), store.read(info, "blendshapes", 2, 5))
