import numpy as np
import pytest

from tclr.pipeline.encoder import EncoderInfo, untrained_encoder
from tclr.pipeline.pretraining.judging import quality
from tclr.pipeline.pretraining.judging.quality import Measure, measure_quality, probe, read_quality, write_quality

SEEN = {"val_accuracy": 0.8, "embedding_std": 0.6, "effective_rank": 12.0}
TRAIN, HELD = ["F001", "F002"], ["F003"]


class Encoder:
    """Describes a crop by the brightness of its channels and, if it ``knows``, by what its first pixels say."""

    embedding_dim = 6

    def __init__(self, knows):
        self.knows = knows

    def embed_all(self, blocks):
        for crops in blocks:
            noise = np.random.default_rng(len(crops)).normal(size=(len(crops), 6))
            noise[:, :2] = crops[:, 0, :2, 0] / 255 if self.knows else noise[:, :2]
            yield noise.astype(np.float32)


@pytest.fixture
def store(make_store, tmp_path):
    return make_store(tmp_path / "store", n_frames=60)


def verdicts(trained, start=SEEN):
    return {measure.name: measure.verdict for measure in measure_quality(trained, start, 64)}


def test_verdicts_tell_a_good_run_from_one_that_collapsed_and_one_that_learnt_nothing():
    good = verdicts(SEEN, SEEN | {"val_accuracy": 0.6})
    assert good == {"ranking accuracy": "better than its start", "spread": "fine", "effective rank": "fine"}
    assert verdicts(SEEN)["ranking accuracy"] == "no better than its start"
    assert verdicts(SEEN | {"val_accuracy": 0.7})["ranking accuracy"] == "worse than its start"
    assert verdicts(SEEN | {"val_accuracy": 0.504})["ranking accuracy"] == "chance"
    assert verdicts(SEEN | {"embedding_std": 0.049})["spread"] == "collapsed"
    assert verdicts(SEEN | {"effective_rank": 2.0})["effective rank"] == "few dimensions"
    assert "ranking accuracy" not in verdicts(SEEN | {"val_accuracy": None})


@pytest.fixture
def legible(monkeypatch):
    """Write the labels, or blendshapes, of each frame into the first pixels of the crop that is read."""

    def make(what):
        real = quality.LabelledFrames.crops

        def crops(frames, index):
            out = real(frames, index)
            out[:, 0, :2, 0] = 255 * what(frames, index)
            return out

        monkeypatch.setattr(quality.LabelledFrames, "crops", crops)

    return make


def test_probe_finds_the_encoder_that_shows_aus_of_people_held_out(store, legible):
    legible(lambda frames, index: frames.labels[index] == 1)
    found = probe(store, TRAIN, HELD, Encoder(knows=True), Encoder(knows=False))
    assert found.name == "AU probe, ROC AUC" and found.trained == pytest.approx(1) and 0.2 < found.start < 0.8
    assert found.verdict == "better than its start"
    assert probe(store, TRAIN, HELD, Encoder(knows=False), Encoder(knows=True)).verdict == "worse than its start"


def test_probe_reads_blendshapes_where_nobody_has_labels(make_store, tmp_path, legible):
    store = make_store(tmp_path / "store", n_frames=60, au_names=())
    found = probe(store, TRAIN, HELD, Encoder(knows=True), Encoder(knows=False))
    assert found.name == "blendshape probe, R²" and found.trained < 1 and np.isfinite(found.start)


def test_probe_learns_from_people_trained_on_alone_and_from_few_frames(store, monkeypatch):
    read = []
    real = quality.transfer_score
    monkeypatch.setattr(quality, "transfer_score", lambda *pair: read.append(pair) or real(*pair))
    monkeypatch.setattr(quality, "LEARNT_FRAMES", 50)
    probe(store, TRAIN, HELD, Encoder(knows=True), Encoder(knows=False))
    for learnt, judged, _ in read:
        assert set(learnt.subjects) == set(TRAIN) and set(judged.subjects) == set(HELD)
        assert len(learnt) == 50 and len(set(learnt.subjects[::25])) == 2


def test_without_people_held_out_there_is_no_probe(store):
    assert probe(store, TRAIN, [], Encoder(knows=True), Encoder(knows=False)) is None


def test_probe_takes_the_encoders_that_runs_make(store):
    one = untrained_encoder(EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=0.8))
    assert probe(store, TRAIN, HELD, one, one).verdict == "no better than its start"


def test_measures_are_kept_and_read(tmp_path):
    measures = [Measure("spread", 0.5, 0.6, "0.05 to 1", "fine")]
    write_quality(tmp_path, measures)
    assert read_quality(tmp_path) == measures and read_quality(tmp_path / "absent") == []
