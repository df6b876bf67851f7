import numpy as np

from tclr.pipeline.store import ClipInfo
from tclr.pipeline.views.report.samples import choose_clips, choose_rows, clip_pictures, worst_pictures
from tclr.schemas.store import Status


class ScriptedStore:
    """Clips with the given scores; the crop of row r of clip c is grey level 40 c + r."""

    def __init__(self, *scores):
        self.scores = [np.array(score, np.float32) for score in scores]
        self.clips = [ClipInfo("d", f"S{i}", "T1", len(score), {}, {}) for i, score in enumerate(scores)]

    def read(self, info, name, start=0, stop=None):
        score = self.scores[self.clips.index(info)]
        status = np.where(np.isfinite(score), Status.ok, Status.no_face)
        values = {
            "score": score,
            "status": status,
            "sharpness": 10 * score,
            "source_frame": np.arange(len(score)) + 100,
        }
        return values[name][start:stop]

    def read_crops(self, info, start, stop):
        return np.full((stop - start, 16, 16, 3), 40 * self.clips.index(info) + start, np.uint8)


def test_worst_frames_come_first_and_lie_apart():
    score = np.full(120, 0.9, np.float32)
    score[[50, 51, 52, 53, 90]] = 0.1, 0.05, 0.2, 0.3, 0.4
    worst, typical = choose_rows(np.zeros(120, np.uint8), score, 12)
    assert worst[:2].tolist() == [51, 90] and (np.abs(np.diff(np.sort(worst))) >= 10).all()
    assert len(worst) == 4 and len(typical) == 8 and np.intersect1d(worst, typical).size == 0
    assert (np.diff(typical) > 10).all() and typical[0] < 10 and typical[-1] == 119


def test_frames_without_a_face_are_never_chosen():
    score = np.array([np.nan, 0.5, np.nan, 0.4], np.float32)
    worst, typical = choose_rows(np.array([2, 0, 2, 0], np.uint8), score, 12)
    assert set(worst) | set(typical) == {1, 3}
    worst, typical = choose_rows(np.full(3, 2, np.uint8), np.full(3, np.nan, np.float32), 12)
    assert len(worst) == len(typical) == 0


def test_half_of_the_clips_shown_are_the_worst_and_half_are_spread_over_the_others():
    rows = [{"n_ok": 100 - (i == 37) * 90 - (i == 5) * 50, "n_frames": 100} for i in range(60)]
    chosen = choose_clips(rows, 6)
    assert chosen[:2] == [37, 5] and len(set(chosen)) == 6 and chosen[-1] == 59
    assert choose_clips(rows[:4], 6) == [0, 1, 2, 3]


def test_sheet_of_a_clip_captions_its_frames():
    faces = clip_pictures(ScriptedStore([0.9, 0.2, np.nan]), ClipInfo("d", "S0", "T1", 3, {}, {}))
    assert faces[0].caption == "frame 101, ok, score 0.20, sharpness 2" and faces[0].worst
    assert faces[0].picture.startswith("data:image/jpeg;base64,")


def test_sheet_of_the_store_has_the_lowest_scores_of_all_clips_and_three_of_a_clip_at_most():
    bad, fine = np.linspace(0.1, 0.3, 50), np.linspace(0.9, 0.5, 50)
    faces = worst_pictures(ScriptedStore(fine, bad, [np.nan] * 3), count=5)
    scores = [float(face.caption.split("score ")[1].split(",")[0]) for face in faces]
    assert scores == sorted(scores) and sum(score < 0.4 for score in scores) == 3 and len(faces) == 5
    assert faces[0].caption.startswith("S1/T1 frame 100")
