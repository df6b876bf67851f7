"""Long clips in segments: the same rows as in one piece, whoever does them, and one piece where they cannot be cut."""

import pickle
import shutil
from dataclasses import asdict

import av
import h5py
import numpy as np
import pytest

from tclr.pipeline.preprocessing import (
    ClipTask,
    extract_clip,
    extract_task,
    part_path,
    pieces,
    preprocess,
    survey_clip,
    tracks,
)
from tclr.pipeline.preprocessing.pieces import cut_clip
from tclr.pipeline.sources import find_clips
from tclr.pipeline.store import Store, assemble_subject, root_attrs
from tclr.pipeline.store.checksums import seal_clip
from tclr.pipeline.store.damage import verify_clip
from tclr.schemas.config import AlignConfig, DetectConfig, PreprocessConfig
from tclr.schemas.errors import InputError, TimelineError
from tclr.schemas.store import TABLE_CHUNK, Status

N_FRAMES = TABLE_CHUNK + 144
ALIGN = AlignConfig(size=48)
CUT = PreprocessConfig(DetectConfig(segment_s=TABLE_CHUNK / 25), ALIGN)
WHOLE = PreprocessConfig(DetectConfig(segment_s=0), ALIGN)


@pytest.fixture(scope="module")
def source(tmp_path_factory, moving_portrait, write_video):
    """A face that is gone for a moment, also across the seam, and for long."""
    images = moving_portrait(N_FRAMES)
    for i in (100, TABLE_CHUNK - 1, TABLE_CHUNK, *range(300, 340)):
        images[i] = np.full_like(images[i], 128)
    folder = tmp_path_factory.mktemp("long") / "in"
    write_video(folder / "anna" / "talk.mp4", images, options={"movflags": "faststart"})
    return folder


@pytest.fixture(scope="module")
def cut(tmp_path_factory, source):
    root = tmp_path_factory.mktemp("cut") / "store"
    result = preprocess(source, root, CUT, workers=2)
    assert (result.n_clips, result.n_frames, result.failures) == (1, N_FRAMES, ())
    return root


def read(root):
    with Store(root) as store:
        (info,) = store.clips
        verify_clip(store, info)
        arrays = {name: store.read(info, name) for name in store.fields(info) if not name.startswith("frames")}
        return arrays | {"frames": store.read_crops(info)}, asdict(info.attrs)


def test_segments_are_whole_chunks_and_cover_the_clip(source):
    (clip,) = find_clips(source)
    assert [piece.rows for piece in cut_clip(survey_clip(clip, CUT))] == [(0, TABLE_CHUNK), (TABLE_CHUNK, N_FRAMES)]
    for detect in (WHOLE.detect, DetectConfig(), DetectConfig(faces="all", segment_s=1)):
        assert cut_clip(survey_clip(clip, PreprocessConfig(detect))) == []


def test_segments_join_to_the_rows_of_one_piece(tmp_path, source, cut):
    preprocess(source, tmp_path / "store", WHOLE, workers=1)
    (joined, attrs), (whole, expected) = read(cut), read(tmp_path / "store")
    for name in ("timestamp", "source_frame", "status", "track"):
        np.testing.assert_array_equal(joined[name], whole[name], err_msg=name)
    assert (joined["status"][[TABLE_CHUNK - 1, TABLE_CHUNK]] == Status.interpolated).all()
    assert (joined["status"][305:340] == Status.no_face).all()
    exact = [name for name in expected if not name.startswith("median")]
    assert {name: attrs[name] for name in exact} == {name: expected[name] for name in exact}
    face = np.isfinite(whole["landmarks"]).all(axis=(1, 2))
    distance = np.linalg.norm((joined["landmarks"] - whole["landmarks"])[face][..., :2], axis=-1)
    assert distance[: TABLE_CHUNK - 10].max() == 0  # the first segment is the beginning of the whole
    assert np.sqrt((distance**2).mean()) < 0.3
    first = np.s_[: TABLE_CHUNK - 10]
    np.testing.assert_array_equal(joined["frames"][first], whole["frames"][first])


def test_workers_do_not_change_segments(tmp_path, source, cut):
    preprocess(source, tmp_path / "store", CUT, workers=1)
    for name, values in read(cut)[0].items():
        np.testing.assert_array_equal(read(tmp_path / "store")[0][name], values, err_msg=name)
    assert not (tmp_path / "store" / "parts").exists()


@pytest.mark.parametrize("codec", ["zstd", "jpeg"])
def test_aligning_segments_again_equals_a_new_run(tmp_path, source, cut, codec):
    other = PreprocessConfig(CUT.detect, AlignConfig(size=32, smooth_s=0.08, codec=codec))
    shutil.copytree(cut, tmp_path / "again")
    preprocess(source, tmp_path / "again", other, workers=2)
    preprocess(source, tmp_path / "new", other, workers=2)
    (again, _), (new, _) = read(tmp_path / "again"), read(tmp_path / "new")
    for name, values in new.items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)


def test_a_segment_that_is_done_is_not_done_again(tmp_path, source, cut):
    (clip,) = find_clips(source)
    rows = (0, TABLE_CHUNK)
    part = part_path(tmp_path / "store", clip, rows)
    extract_clip(cut_clip(survey_clip(clip, CUT))[0], part)
    with h5py.File(part, "r+") as file:
        file["clips/talk/score"][3] = 0.123
        seal_clip(file["clips/talk"])  # or it would be taken for damaged
    preprocess(source, tmp_path / "store", CUT, workers=1)
    arrays, _ = read(tmp_path / "store")
    assert arrays["score"][3] == np.float32(0.123)
    np.testing.assert_array_equal(arrays["score"][TABLE_CHUNK:], read(cut)[0]["score"][TABLE_CHUNK:])


def test_a_segment_brings_what_is_known_of_its_clip(tmp_path, source, cut, monkeypatch):
    (clip,) = find_clips(source)
    segments = extract_task(ClipTask(clip, tmp_path, CUT)).segments
    sent = pickle.dumps(segments[1])
    assert len(segments) == 2 and len(sent) < 20_000
    for module, name in ((pieces, "probe"), (pieces, "read_timeline"), (tracks, "scout_people")):
        monkeypatch.setattr(module, name, lambda *arguments, **options: pytest.fail("found out again"))
    extract_clip(pickle.loads(sent), tmp_path / "subjects" / "anna.h5")
    expected, _ = read(cut)
    with Store(tmp_path) as store:
        (info,) = store.clips
        assert info.attrs.segment == f"{TABLE_CHUNK}:{N_FRAMES}" and info.attrs.goes_on
        for name in ("timestamp", "source_frame", "status", "landmarks", "transform", "score"):
            np.testing.assert_array_equal(store.read(info, name), expected[name][TABLE_CHUNK:], err_msg=name)
        np.testing.assert_array_equal(store.read_crops(info), expected["frames"][TABLE_CHUNK:])


def test_a_source_that_changes_before_its_last_segment_is_reported(tmp_path, source, write_video, moving_portrait):
    shutil.copytree(source, tmp_path / "in")
    (clip,) = find_clips(tmp_path / "in")
    last = cut_clip(survey_clip(clip, CUT))[-1]
    write_video(clip.path, moving_portrait(30), options={"movflags": "faststart"})
    with pytest.raises(InputError, match="talk.mp4 changed while it was read. Run the same") as told:
        extract_clip(last, tmp_path / "part.h5")
    assert not isinstance(told.value, TimelineError) and not (tmp_path / "part.h5").exists()


def test_a_clip_that_cannot_be_cut_is_done_in_one_piece(tmp_path, write_video):
    rng = np.random.default_rng(0)
    images = list(rng.integers(110, 140, (N_FRAMES, 48, 64, 3), np.uint8))
    path = write_video(tmp_path / "in" / "a.mp4", images, codec="mpeg4", options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        keys = [packet for packet in container.demux(video=0) if packet.is_keyframe and packet.size]
        before = [packet for packet in keys if packet.pts * packet.time_base <= (TABLE_CHUNK - 50) / 25][-1]
        start, size = before.pos, before.size
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)  # the keyframe at which the second segment would begin
    path.write_bytes(data)
    stores = {}
    for name, config in (("cut", CUT), ("whole", WHOLE)):
        result = preprocess(tmp_path / "in", tmp_path / name, config, workers=2)
        assert not result.failures, result.failures
        stores[name] = read(tmp_path / name)[0]
    for name, values in stores["whole"].items():
        np.testing.assert_array_equal(stores["cut"][name], values, err_msg=name)
    assert Status.unreadable in stores["cut"]["status"]


def specks(n_frames):
    """Pictures, 64 x 48, without a face."""
    return list(np.random.default_rng(0).integers(110, 140, (n_frames, 48, 64, 3), np.uint8))


def test_a_clip_whose_pictures_change_their_size_is_to_be_done_in_one_piece(tmp_path, write_jpegs):
    (tmp_path / "in").mkdir()
    images = specks(N_FRAMES)
    images[300:] = [image.repeat(2, 0).repeat(2, 1) for image in images[300:]]  # in the second segment
    write_jpegs(tmp_path / "in" / "a.mkv", images)
    (clip,) = find_clips(tmp_path / "in")
    first, second = cut_clip(survey_clip(clip, CUT))
    extract_clip(first, tmp_path / "first.h5")
    with pytest.raises(TimelineError, match="pictures change their size"):
        extract_clip(second, tmp_path / "second.h5")


def test_a_warning_about_the_streams_outlives_the_segments(tmp_path, write_jpegs):
    (tmp_path / "in").mkdir()
    one = write_jpegs(tmp_path / "one.mkv", specks(N_FRAMES))
    with av.open(str(one)) as source, av.open(str(tmp_path / "in" / "a.mkv"), "w") as target:
        streams = [target.add_stream_from_template(source.streams.video[0]) for _ in range(2)]
        for packet in source.demux(video=0):
            for stream in streams if packet.size else ():
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, stream
                target.mux(copy)
    (clip,) = find_clips(tmp_path / "in")
    parts = []
    for piece in cut_clip(survey_clip(clip, CUT)):
        parts.append(tmp_path / f"{piece.rows[0]}.h5")
        extract_clip(piece, parts[-1])
    assert len(parts) == 2
    root = root_attrs("folder", "a", CUT.detect, CUT.align, "0")
    assemble_subject(tmp_path / "store" / "subjects" / "a.h5", {"a": parts}, root)
    known = "2 video streams: the first, 64x48, was read"
    assert read(tmp_path / "store")[1]["warning"] == f"{known}; no face in any of {N_FRAMES} frames"


def test_files_left_by_a_run_that_was_killed_after_assembly_go(tmp_path, source, cut):
    root = tmp_path / "store"
    shutil.copytree(cut, root)
    (clip,) = find_clips(source)
    for rows in (None, (0, TABLE_CHUNK)):
        part_path(root, clip, rows).parent.mkdir(parents=True, exist_ok=True)
        part_path(root, clip, rows).write_bytes(b"x")
    result = preprocess(source, root, CUT, workers=1)
    assert result.n_skipped == 1 and not (root / "parts").exists()


@pytest.mark.slow
def test_a_resampled_matroska_video_is_cut_alike(tmp_path, write_video, moving_portrait):
    images = moving_portrait(60) * 14
    write_video(tmp_path / "in" / "a.mkv", images, fps=50, codec_options={"g": "50"})
    stores = {}
    for name, segment_s in (("cut", TABLE_CHUNK / 25), ("whole", 0)):
        detect = DetectConfig(segment_s=segment_s, fps=25, max_faces=1)
        (clip,) = find_clips(tmp_path / "in")
        config = PreprocessConfig(detect, ALIGN)
        assert len(cut_clip(survey_clip(clip, config))) == (2 if segment_s else 0)
        result = preprocess(tmp_path / "in", tmp_path / name, config, workers=2)
        assert not result.failures
        stores[name] = read(tmp_path / name)[0]
    for name in ("timestamp", "source_frame", "status", "track"):
        np.testing.assert_array_equal(stores["cut"][name], stores["whole"][name], err_msg=name)
    assert abs(len(stores["cut"]["status"]) - len(images) / 2) <= 1
