"""Demo clips: what is on disk, what the labels say, and what a face detector sees in the pictures."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from tclr.pipeline.faces import detect_image
from tclr.pipeline.tools.synth import load_portraits, portraits, write_demo
from tclr.pipeline.tools.synth.action_warp import ACTIONS, AUS, build_moves
from tclr.pipeline.tools.synth.clips import EXPRESSIONS, PRESENT_FROM, plan_actions, plan_expressions, plan_scene
from tclr.pipeline.tools.synth.puppet import Puppet, build_puppet, map_triangles, render_face
from tclr.schemas.action_units import BP4D_AUS
from tclr.schemas.errors import OutputError, SettingError

TINY = {"subjects": 2, "tasks": 1, "frames": 12, "size_px": 240}
STILL = np.zeros(6)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """Return a tiny demo: two subjects, a clip of 12 frames each."""
    out = tmp_path_factory.mktemp("demo")
    write_demo(out, **TINY)
    return out


@pytest.fixture(scope="module", params=[0, 1], ids=["collins", "hopper"])
def puppet(request) -> Puppet:
    """Return each of the two portraits, ready to move."""
    return build_puppet(request.param, size_px=480, rng=np.random.default_rng(0))


def read_codes(path: Path) -> tuple[list[int], dict[int, list[int]]]:
    """Read a label file with nothing of tclr: its first row, then frame number -> codes."""
    with path.open(newline="") as file:
        header, *rows = [[int(cell) for cell in row] for row in csv.reader(file)]
    return header, {row[0]: row[1:] for row in rows}


def intensity_vector(active: dict[int, float]) -> np.ndarray:
    """Return intensities (len(AUS),) float32 from a mapping of AU number to intensity 0..1."""
    return np.array([active.get(au, 0.0) for au in AUS], np.float32)


def see(puppet: Puppet, **active: float) -> np.ndarray:
    """Render action units (``au12=1.0``) and return the landmarks (478, 3) that a detector finds there."""
    intensities = intensity_vector({int(name[2:]): value for name, value in active.items()})
    picture = np.clip(render_face(puppet, intensities, STILL), 0, 255).astype(np.uint8)
    faces = detect_image(picture)
    assert len(faces) == 1
    return np.asarray(faces[0].landmarks)


def digest(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_write_demo_has_bp4d_layout(demo):
    tables = sorted((demo / "AUCoding" / "AU_OCC").iterdir())
    assert [table.name for table in tables] == ["F001_T1.csv", "F003_T1.csv"]
    for table in tables:
        header, codes = read_codes(table)
        assert header == list(range(100))
        assert all(len(row) == 99 for row in codes.values())
        frames = sorted((demo / "2D+3D" / table.stem.replace("_", "/")).iterdir())
        assert [int(frame.stem) for frame in frames] == list(codes)
        assert all(len(frame.stem) == 4 and frame.suffix == ".jpg" for frame in frames)
        assert cv2.imread(str(frames[0])).shape == (240, 240, 3)


def test_write_demo_codes_what_it_animates_and_nothing_else(demo):
    _, codes = read_codes(demo / "AUCoding" / "AU_OCC" / "F001_T1.csv")
    table = np.array(list(codes.values()))
    coded = {au for au in range(1, 100) if (table[:, au - 1] != 9).all()}
    assert coded == {*BP4D_AUS, 25, 26, 45}
    assert set(np.unique(table)) == {0, 1, 9}


def test_write_demo_shows_one_face_in_each_frame(demo):
    for path in sorted((demo / "2D+3D").rglob("*.jpg"))[::2]:
        assert len(detect_image(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))) == 1, path


def test_write_demo_gives_the_same_bytes_for_the_same_seed(demo, tmp_path):
    write_demo(tmp_path / "same", **TINY)
    write_demo(tmp_path / "other", **TINY, seed=1)
    assert digest(tmp_path / "same") == digest(demo)
    assert not set(digest(tmp_path / "other").values()) & set(digest(demo).values())


def test_write_demo_reports_progress(tmp_path):
    seen: list[tuple[int, int]] = []
    settings = TINY | {"subjects": 1}
    result = write_demo(tmp_path, **settings, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 12) for done in range(1, 13)]
    assert (result.out, result.n_subjects, result.n_clips, result.n_frames) == (tmp_path, 1, 1, 12)


def test_without_scikit_image_every_subject_is_made_of_one_portrait(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(portraits.importlib.util, "find_spec", lambda name: None)
    (portrait,) = load_portraits()
    assert portrait.glasses
    write_demo(tmp_path, **TINY)
    assert "pip install 'tclr-face[demo]'" in caplog.text
    first, second = (sorted((tmp_path / "2D+3D" / name / "T1").iterdir())[0] for name in ("F001", "F003"))
    for path in (first, second):
        assert len(detect_image(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))) == 1
    assert first.read_bytes() != second.read_bytes()


def test_the_same_clips_again_are_left_as_they_are(demo):
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    again = write_demo(demo, **TINY)
    assert (again.n_new, again.n_frames) == (0, 24)
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before


def test_an_interrupted_folder_is_written_again(demo, tmp_path):
    def stop(done, total):
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path, **TINY, progress=stop)
    assert write_demo(tmp_path, **TINY).n_new == 24
    assert digest(tmp_path) == digest(demo)


@pytest.mark.parametrize("other", [{"seed": 1}, {"frames": 13}, {"expressions": True}])
def test_clips_of_other_settings_are_refused_and_stay(demo, other):
    before = digest(demo)
    with pytest.raises(OutputError, match=r"made with \(--frames 12 --seed 0 --size 240 --subjects 2 --tasks 1\)"):
        write_demo(demo, **(TINY | other))
    assert digest(demo) == before


def test_expressions_come_one_after_the_other_and_glasses_hide_brows():
    rows = {au: row for row, au in enumerate(AUS)}
    for glasses in (False, True):
        plan = plan_expressions(glasses, 150, rng=np.random.default_rng(0))
        present = plan >= PRESENT_FROM
        shown = {name: present[:, [rows[au] for au in aus]].all(axis=1) for name, aus in EXPRESSIONS.items()}
        assert np.max(sum(map(np.int64, shown.values()))) == 1
        assert {name for name, when in shown.items() if when.any()} == set(EXPRESSIONS) - (
            {"raised brows"} if glasses else set()
        )
        starts = [int(np.argmax(when)) for when in shown.values() if when.any()]
        assert starts == sorted(starts) and not present[:, rows[4]].any()
        blinks = np.flatnonzero(np.diff(shown["blinks"].astype(int)))
        assert len(blinks) == 4 and max(blinks[1::2] - blinks[::2]) / 25 < 0.4  # AU45 lasts half a second at most


@pytest.mark.parametrize("folder", ["2D+3D", "AUCoding"])
def test_write_demo_refuses_a_folder_with_clips(tmp_path, folder):
    (tmp_path / folder).mkdir()
    with pytest.raises(OutputError, match="Choose another folder"):
        write_demo(tmp_path, **TINY)
    assert list(tmp_path.iterdir()) == [tmp_path / folder]


def test_write_demo_refuses_a_file(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OutputError, match="got a file"):
        write_demo(tmp_path / "taken", **TINY)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [("subjects", 0), ("subjects", 42), ("tasks", 9), ("frames", 9), ("size_px", 100), ("seed", -1)],
)
def test_write_demo_refuses_settings_out_of_range(tmp_path, name, value):
    with pytest.raises(SettingError, match=f"'{name}' between .* but got {value}"):
        write_demo(tmp_path / "out", **TINY | {name: value})
    assert not (tmp_path / "out").exists()


def test_labels_are_thresholded_intensities(demo):
    what = np.random.default_rng([0, 0, 0]).spawn(4)[1]
    intensities = plan_actions(0, 0, 12, rng=what)
    _, codes = read_codes(demo / "AUCoding" / "AU_OCC" / "F001_T1.csv")
    for row, intensity in zip(codes.values(), intensities, strict=True):
        assert [row[au - 1] for au in AUS] == [int(value >= PRESENT_FROM) for value in intensity]


@pytest.mark.parametrize("subject", range(4))
def test_plan_actions_shows_and_hides_every_action_in_each_subject(subject):
    rng = np.random.default_rng(subject)
    present = np.concatenate([plan_actions(subject, task, 75, rng=rng) for task in range(2)]) >= PRESENT_FROM
    share = present.mean(0)
    assert (share > 0).all() and (share < 0.6).all()


def test_plan_actions_is_smooth_and_within_range():
    intensities = plan_actions(0, 0, 75, rng=np.random.default_rng(0))
    assert intensities.min() == 0 and 0.6 <= intensities.max() <= 1
    slow = [column for column, au in enumerate(AUS) if au != 45]
    assert np.abs(np.diff(intensities[:, slow], axis=0)).max() < 0.5


def test_plan_scene_is_independent_of_the_actions():
    still, other = (plan_scene(75, rng=np.random.default_rng(seed)) for seed in (0, 1))
    assert still.pose.shape == (75, 6) and still.light.shape == (75, 3)
    assert np.abs(np.diff(still.pose[:, :3], axis=0)).max() < np.deg2rad(3)
    assert not np.allclose(still.pose, other.pose)


def test_au12_moves_mouth_corners_up_and_out(puppet):
    rest, smile = see(puppet), see(puppet, au12=1.0)
    eye_distance_px = np.linalg.norm(rest[[33, 133], :2].mean(0) - rest[[362, 263], :2].mean(0))
    left, right = (smile - rest)[[61, 291], :2] / eye_distance_px
    assert left[0] < -0.03 and right[0] > 0.03, "corners go out"
    assert left[1] < -0.03 and right[1] < -0.03, "corners go up"


def test_au26_opens_the_mouth_and_au45_closes_the_eyes(puppet):
    rest, jaw, blink = see(puppet), see(puppet, au26=1.0), see(puppet, au45=1.0)

    def gap(points: np.ndarray, pairs: list[tuple[int, int]]) -> float:
        return float(np.mean([np.linalg.norm(points[a, :2] - points[b, :2]) for a, b in pairs]))

    lips, lids = [(13, 14)], [(159, 145), (386, 374)]
    assert gap(jaw, lips) > gap(rest, lips) + 5
    assert gap(blink, lids) < 0.75 * gap(rest, lids)


def test_brow_actions_move_brows_their_way():
    puppet = build_puppet(0, size_px=480, rng=np.random.default_rng(0))
    inner, outer = [55, 107, 285, 336], [70, 46, 300, 276]
    rest = see(puppet)
    raised, arched, lowered = (see(puppet, **{f"au{au}": 1.0}) - rest for au in (1, 2, 4))
    assert raised[inner, 1].mean() < -4 and raised[inner, 1].mean() < raised[outer, 1].mean()
    assert arched[outer, 1].mean() < -4 and arched[outer, 1].mean() < arched[inner, 1].mean()
    assert lowered[inner, 1].mean() > 2


def test_build_moves_is_local_and_follows_the_face():
    rest = build_puppet(0, size_px=480, rng=np.random.default_rng(0)).rest[:478]
    moves = build_moves(rest)
    brow, chin = 105, 152
    assert np.abs(moves[AUS.index(2), chin]).max() < 0.1
    assert np.abs(moves[AUS.index(26), brow]).max() < 0.1
    turn = cv2.getRotationMatrix2D((240, 240), 20, 1.5)[:, :2]
    turned = rest.copy()
    turned[:, :2] = rest[:, :2] @ turn.T
    np.testing.assert_allclose(build_moves(turned), moves @ turn.T, atol=0.02)


def test_every_action_changes_the_picture_where_the_face_is(puppet):
    rest = render_face(puppet, intensity_vector({}), STILL)
    low, high = (puppet.rest[:478, :2].min(0) - 60), (puppet.rest[:478, :2].max(0) + 60)
    outside = np.ones(rest.shape[:2], bool)
    outside[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])] = False
    for au in ACTIONS:
        change = np.abs(render_face(puppet, intensity_vector({au: 1.0}), STILL) - rest).max(2)
        assert change.max() > 20, f"AU{au} shows"
        assert change[outside].mean() < 0.02 * change[~outside].max(), f"AU{au} leaves the background alone"


def test_map_triangles_agrees_with_barycentric_coordinates():
    source = np.array([[0, 0], [40, 0], [0, 40], [40, 40]], np.float32)
    target = np.array([[2, 3], [35, 1], [5, 38], [37, 33]], np.float32)
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    x, y = map_triangles(source, target, triangles, 40)
    inside = {(10, 10): 0, (20, 8): 0, (30, 28): 1, (24, 30): 1}
    for (column, row), triangle in inside.items():
        corners = triangles[triangle]
        weights = np.linalg.solve(np.vstack([target[corners].T, np.ones(3)]), [column, row, 1])
        np.testing.assert_allclose([x[row, column], y[row, column]], weights @ source[corners], atol=1e-3)


def test_map_triangles_leaves_out_triangles_that_turned_over():
    source = np.array([[0, 0], [40, 0], [0, 40]], np.float32)
    flipped = np.concatenate([source, source[[0, 2, 1]]])
    x, _ = map_triangles(np.tile(source, (2, 1)), flipped, np.array([[0, 1, 2], [3, 4, 5]]), 40)
    assert x[5, 20] == pytest.approx(20, abs=1e-3)
