"""Two people in one picture: two portraits side by side, who swap places, leave and come, in real videos."""

import hashlib
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.preprocessing import extract_clip, preprocess, survey_clip
from tclr.pipeline.preprocessing.subject_face import read_subject_face
from tclr.pipeline.sources import Pseudonyms, find_clips
from tclr.pipeline.store import Store
from tclr.pipeline.store.damage import verify_clip
from tclr.pipeline.tracking.subject import PASSED_OVER
from tclr.schemas.config import AlignConfig, DetectConfig, PreprocessConfig
from tclr.schemas.errors import InputError
from tclr.schemas.store import MOTIONLESS, NO_TRACK, Status

ALIGN = AlignConfig(size=64)
SIDE = 240


@pytest.fixture(scope="module")
def heads(portrait):
    """Two heads, (240, 240, 3): matplotlib's Grace Hopper, large, and scikit-image's astronaut, smaller."""
    hopper = cv2.imread(str(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"), cv2.IMREAD_COLOR_RGB)
    large = cv2.resize(hopper[20:420, 60:460], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small = portrait[10 : 10 + SIDE, 100 : 100 + SIDE]
    return large, small


def tile(left, right, i):
    """A frame with both side by side, each swaying a little."""
    shift = round(4 * np.sin(i / 4))
    blank = np.full((SIDE, SIDE, 3), 110, np.uint8)
    return np.hstack([blank if head is None else np.roll(head, shift, axis=1) for head in (left, right)])


def extract(folder, out, **settings):
    (clip,) = find_clips(folder)
    extract_clip(
        survey_clip(clip, PreprocessConfig(DetectConfig(**settings), ALIGN)), out / "subjects" / f"{clip.subject}.h5"
    )
    return Store(out)


def sides(store, info):
    """0 where the face is on the left, 1 on the right, -1 where there is none."""
    x = store.read(info, "bbox")[:, ::2].mean(axis=1)
    return np.where(np.isnan(x), -1, x > SIDE).astype(int)


def test_subject_is_followed_through_a_swap_and_the_other_is_left_alone(tmp_path, heads, write_video):
    large, small = heads
    order = [(large, small)] * 20 + [(small, large)] * 20
    write_video(tmp_path / "in" / "a.mp4", [tile(*pair, i) for i, pair in enumerate(order)])
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        verify_clip(store, info)
        assert (sides(store, info)[:20] == 0).all() and (sides(store, info)[21:] == 1).all()
        track = store.read(info, "track")
        assert len(set(track[:20])) == 1 and len(set(track[21:])) == 1 and track[0] != track[-1]


@pytest.fixture(scope="module")
def wall(tmp_path_factory, heads, write_video):
    """Four seconds of a large photograph beside a smaller face, whose mouth and cheeks move."""
    large, small = heads
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    frames = []
    for i in range(41):
        down = 6 * np.sin(i) * np.exp(-((x - 120) ** 2) / 900 - (y - 150) ** 2 / 400)
        frames.append(np.hstack([large, cv2.remap(small, x, (y - down).astype(np.float32), cv2.INTER_LINEAR)]))
    folder = tmp_path_factory.mktemp("wall") / "in"
    write_video(folder / "a.mp4", frames, fps=10)
    return folder


def test_a_photograph_on_the_wall_is_not_the_subject(tmp_path, wall):
    with extract(wall, tmp_path / "out") as store:
        (info,) = store.clips
        assert (sides(store, info) == 1).all() and info.attrs.warning == PASSED_OVER
    with extract(wall, tmp_path / "all", faces="all") as store:
        assert [info.attrs.warning for info in store.clips] == [PASSED_OVER, MOTIONLESS]
        assert [set(sides(store, info)) for info in store.clips] == [{1}, {0}]


def test_a_photograph_that_a_place_names_is_the_subject_with_a_warning_that_lasts(tmp_path, wall):
    detect = DetectConfig(subject_at="0.2,0.5")
    for size in (48, 64):  # the second run takes the landmarks of the first
        result = preprocess(wall, tmp_path / "store", PreprocessConfig(detect, AlignConfig(size=size)), workers=1)
        assert [warning.reason for warning in result.warnings] == [MOTIONLESS]
    with Store(tmp_path / "store") as store:
        assert (sides(store, store.clips[0]) == 0).all()


def test_a_picture_names_the_subject_and_only_its_digest_is_stored(tmp_path, heads, wall):
    path = tmp_path / "anna.png"
    cv2.imwrite(str(path), heads[0][..., ::-1])
    preprocess(wall, tmp_path / "store", PreprocessConfig(DetectConfig(subject_face=str(path)), ALIGN), workers=1)
    with Store(tmp_path / "store") as store:
        assert (sides(store, store.clips[0]) == 0).all()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for file in (tmp_path / "store" / "run.json", tmp_path / "store" / "subjects" / "a.h5"):
        assert digest.encode() in file.read_bytes() and b"anna" not in file.read_bytes()


def test_a_picture_of_the_subject_must_show_one_face(tmp_path, heads):
    pair, nobody = tmp_path / "pair.png", tmp_path / "nobody.png"
    cv2.imwrite(str(pair), np.hstack(heads)[..., ::-1])
    cv2.imwrite(str(nobody), np.full((99, 99, 3), 99, np.uint8))
    for path, found in ((pair, "found 2 in"), (nobody, "found none in"), (tmp_path, "cannot read")):
        with pytest.raises(InputError, match=found):
            read_subject_face(PreprocessConfig(DetectConfig(subject_face=str(path))))


def test_the_digest_of_a_picture_is_keyed_where_names_are(tmp_path, heads):
    path = tmp_path / "anna.png"
    cv2.imwrite(str(path), heads[0][..., ::-1])
    config = PreprocessConfig(DetectConfig(subject_face=str(path)))
    keyed = [read_subject_face(config, Pseudonyms(key)).detect.subject_face for key in (b"1" * 32, b"2" * 32)]
    assert len({*keyed, read_subject_face(config).detect.subject_face}) == 3


def test_pictures_have_no_subject_to_name(tmp_path, heads):
    (tmp_path / "in" / "f").mkdir(parents=True)
    for name, head in zip("ab", heads, strict=True):
        cv2.imwrite(str(tmp_path / "in" / "f" / f"{name}.png"), head[..., ::-1])
    (tmp_path / "in" / "labels.csv").write_text("file,AU 1,AU 2\na.png,1,0\nb.png,0,1\n")
    with pytest.raises(InputError, match="Expected a video"):
        extract(tmp_path / "in", tmp_path / "out", subject_at="0.5,0.5")


def test_subject_who_leaves_is_not_replaced_by_the_other(tmp_path, heads, write_video):
    large, small = heads
    order = [(large, small)] * 15 + [(None, small)] * 15 + [(large, small)] * 15
    write_video(tmp_path / "in" / "a.mp4", [tile(*pair, i) for i, pair in enumerate(order)])
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        where = sides(store, info)
        assert (where[:15] == 0).all() and (where[15:29] == -1).all() and (where[32:] == 0).all()
        assert (store.read(info, "track")[15:29] == NO_TRACK).all()


def test_everyone_gets_a_clip_of_their_own_with_every_row(tmp_path, heads, write_video):
    large, small = heads
    order = [(large, None)] * 20 + [(large, small)] * 25 + [(small, large)] * 20
    write_video(tmp_path / "in" / "talk.mp4", [tile(*pair, i) for i, pair in enumerate(order)])
    config = PreprocessConfig(DetectConfig(faces="all"), ALIGN)
    result = preprocess(tmp_path / "in", tmp_path / "store", config, workers=1)
    assert result.n_clips == 2 and not result.failures
    with Store(tmp_path / "store") as store:
        assert [info.clip for info in store.clips] == ["talk#1", "talk#2"]
        first, second = store.clips
        for info in store.clips:
            verify_clip(store, info)
            assert info.n_frames == 65 and info.attrs.n_people == 2 and info.attrs.source_clip == "talk"
        assert (sides(store, first)[:45] == 0).all() and (sides(store, first)[47:] == 1).all()
        assert (sides(store, second)[:20] == -1).all() and (sides(store, second)[47:] == 0).all()
        assert (sides(store, second)[23:45] == 1).all()
        np.testing.assert_array_equal(store.read(first, "source_frame"), store.read(second, "source_frame"))
    manifest = pd.read_parquet(tmp_path / "store" / "manifest.parquet")
    assert list(manifest["clip"]) == ["talk#1", "talk#2"]
    again = preprocess(tmp_path / "in", tmp_path / "store", config, workers=1)
    assert again.n_skipped == 1 and again.n_frames == 0
    other = PreprocessConfig(DetectConfig(faces="all"), AlignConfig(size=48))
    realigned = preprocess(tmp_path / "in", tmp_path / "store", other, workers=1)
    whole = preprocess(tmp_path / "in", tmp_path / "whole", other, workers=1)
    assert realigned.n_clips == whole.n_clips == 2
    with Store(tmp_path / "store") as store, Store(tmp_path / "whole") as expected:
        for info, same in zip(expected.clips, store.clips, strict=True):
            for name in expected.fields(info):
                np.testing.assert_array_equal(store.read(same, name), expected.read(info, name), err_msg=name)


def test_a_cut_begins_a_new_track_and_crops_are_right_from_its_first_frame(tmp_path, heads, write_video):
    large, _ = heads
    near = cv2.resize(large[:200, :200], (SIDE, SIDE))
    wide = np.hstack([np.full((SIDE, SIDE, 3), 235, np.uint8), near])
    frames = [np.hstack([large, np.zeros_like(large)])] * 15 + [wide] * 15
    write_video(tmp_path / "in" / "a.mp4", frames)
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        assert store.read(info, "track").tolist() == [0] * 15 + [1] * 15
        assert (store.read(info, "status") == Status.ok).all()
        landmarks = store.read(info, "landmarks")[:, :, :2]
        distance = np.linalg.norm(landmarks[15] - landmarks[20:].mean(axis=0), axis=1).mean()
        assert distance < 0.02 * info.attrs.median_face_px
        middle = (
            store.read(info, "transform")[:, :, :2] @ landmarks[15].mean(axis=0) + store.read(info, "transform")[..., 2]
        )
        assert np.abs(middle[15] - middle[20]).max() < 1.5  # no smoothing from before the cut


def test_stills_give_their_largest_face_or_everyone_by_size(tmp_path, heads):
    large, small = heads
    picture = np.full((300, 600, 3), 200, np.uint8)
    picture[20:260, 20:260] = large
    picture[40:280, 340:580] = small
    (tmp_path / "in" / "f").mkdir(parents=True)
    for name, image in (("a.png", picture), ("b.png", picture[:, ::-1])):
        cv2.imwrite(str(tmp_path / "in" / "f" / name), image[..., ::-1])
    (tmp_path / "in" / "labels.csv").write_text("file,AU 1,AU 2\na.png,1,0\nb.png,0,1\n")
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        x = store.read(info, "bbox")[:, ::2].mean(axis=1)
        assert x[0] < 260 and x[1] > 340
    with extract(tmp_path / "in", tmp_path / "all", faces="all") as store:
        assert [info.clip[-2:] for info in store.clips] == ["#1", "#2"]
        widths = [np.diff(store.read(info, "bbox")[:, ::2], axis=1) for info in store.clips]
        assert (widths[0] > widths[1]).all()
        assert store.names(store.clips[0], "au") == ["AU01", "AU02"] and store.names(store.clips[1], "au") == []


def test_people_are_kept_by_time_not_by_count_at_a_low_rate(tmp_path, heads, write_video):
    large, small = heads
    write_video(tmp_path / "in" / "talk.mp4", [tile(large, small, i) for i in range(60)])
    with extract(tmp_path / "in", tmp_path / "out", faces="all", fps=2) as store:
        assert [info.clip for info in store.clips] == ["talk#1", "talk#2"]
        assert [info.attrs.n_ok for info in store.clips] == [info.n_frames for info in store.clips]


def test_everyone_in_a_lone_picture_gets_a_clip(tmp_path, heads):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "pair.png"), tile(*heads, 0)[..., ::-1])
    with extract(tmp_path / "in", tmp_path / "out", faces="all") as store:
        assert [(info.clip, info.n_frames) for info in store.clips] == [("pair#1", 1), ("pair#2", 1)]


def test_one_face_at_most_is_followed_whoever_it_is(tmp_path, heads):
    large, small = heads
    folder = tmp_path / "in" / "a" / "take"
    folder.mkdir(parents=True)
    # the look ahead sees frames 0 and 60, one of each
    order = [(large, None)] * 45 + [(small, None)] * 30 + [(large, None)] * 45
    for number, pair in enumerate(order):
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), tile(*pair, number)[..., ::-1])
    with extract(tmp_path / "in", tmp_path / "out", max_faces=1) as store:
        (info,) = store.clips
        assert np.isin(store.read(info, "status")[47:73], (Status.ok, Status.low_confidence)).all()
    with extract(tmp_path / "in", tmp_path / "several", max_faces=4) as store:
        (info,) = store.clips
        assert (store.read(info, "status")[47:73] == Status.no_face).all()


def test_subject_of_a_matroska_video_is_settled_beyond_its_first_frame(tmp_path, heads, write_video):
    large, small = heads
    order = [(small, None)] * 60 + [(large, None)] * 240
    path = tmp_path / "in" / "a.mkv"
    write_video(path, [tile(*pair, i) for i, pair in enumerate(order)], codec_options={"g": "25"})
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        status = store.read(info, "status")
        assert (status[:58] == Status.no_face).all() and (status[64:] == Status.ok).all()


def test_a_photograph_on_the_wall_of_the_shared_footage_is_passed_over(tmp_path, shared_data):
    (clip,) = (clip for clip in find_clips(shared_data / "hard") if clip.subject == "photo_on_wall")
    extract_clip(survey_clip(clip, PreprocessConfig(align=ALIGN)), tmp_path / "subjects" / "photo_on_wall.h5")
    with Store(tmp_path) as store:
        (info,) = store.clips
        assert info.attrs.warning == PASSED_OVER and store.face_mask(info).all()


def test_people_of_the_shared_footage_who_change_places_at_a_cut_keep_their_names(tmp_path, shared_data):
    (clip,) = (clip for clip in find_clips(shared_data / "hard") if clip.subject == "swap_cut")
    config = PreprocessConfig(DetectConfig(faces="all"), ALIGN)
    extract_clip(survey_clip(clip, config), tmp_path / "subjects" / "swap_cut.h5")
    with Store(tmp_path) as store:
        assert len(store.clips) == 2
        for info in store.clips:
            x, track = store.read(info, "bbox")[:, ::2].mean(axis=1), store.read(info, "track")
            assert abs(x[61:].mean() - x[:60].mean()) > 50 and track[59] != track[61]
