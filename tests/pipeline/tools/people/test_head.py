"""The head: reading it, fitting it to a portrait, and moving it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tclr.pipeline.tools.people.actions import AUS
from tclr.pipeline.tools.people.head import build_puppet, check_shapes, draw_furrows, fit_head, read_model
from tclr.pipeline.tools.people.head.eyes import turn
from tclr.pipeline.tools.people.head.fit import close_lips
from tclr.pipeline.tools.people.head.furrows import GROUPS
from tclr.pipeline.tools.people.head.matte import cut_out
from tclr.pipeline.tools.people.head.mesh import N_USED, read_polygons, read_vertices, triangulate
from tclr.pipeline.tools.people.head.puppet import SHAPES
from tclr.pipeline.tools.people.head.surface import find_normals, find_rim
from tclr.pipeline.tools.people.stage import PIVOT, place_head
from tclr.pipeline.tools.people.worn import build_glasses, build_mask
from tclr.schemas.errors import InputError


@pytest.fixture(scope="module")
def puppet(model, picture, landmarks):
    """Return the portrait as a puppet."""
    return build_puppet(model, picture, landmarks, shirt=np.array([50.0, 60, 90]), rng=np.random.default_rng(0))


def intensities(active):
    """Return intensities (21, 2) from a mapping of action unit to one value, or to left and right."""
    rows = np.zeros((len(AUS), 2), np.float32)
    for au, value in active.items():
        rows[AUS.index(au)] = value
    return rows


def moved(puppet, active, gaze=(0.0, 0.0)):
    """Return the landmarks (468, 3) of a puppet under actions, in head coordinates."""
    return puppet.move(intensities(active), np.array(gaze)).head[puppet.model.landmarks]


def test_read_vertices_and_polygons_of_a_file_written_by_hand(tmp_path):
    path = tmp_path / "quad.obj"
    path.write_text("# a quad\nv 0 0 0\nv 1 0 0\nv 1 1 0.5\nv 0 1 0\nvt 0 0\nusemtl skin\nf 1/1 2/1 3/1 4/1\n")
    np.testing.assert_allclose(read_vertices(path, 4), [[0, 0, 0], [1, 0, 0], [1, 1, 0.5], [0, 1, 0]])
    assert triangulate(read_polygons(path)).tolist() == [[0, 1, 2], [0, 2, 3]]
    with pytest.raises(InputError, match=f"at least {N_USED} vertices"):
        read_vertices(path)


def test_read_model_reads_shapes_as_displacements(model):
    assert model.neutral.shape == (N_USED, 3) and len(model.identities) == 2
    smile = model.expressions["mouthSmile_L"][model.landmarks]
    assert smile[291, 0] > 0.5 and smile[291, 1] > 0.5, "the subject's left corner goes out and up"
    assert np.abs(smile[61]).max() < 0.01, "the right one stays"


def test_read_model_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"git clone https://github.com/ICT-VGL/ICT-FaceKit"):
        read_model(tmp_path)


def test_check_shapes_names_what_is_missing(model):
    check_shapes(model)
    expressions = {name: shape for name, shape in model.expressions.items() if name not in ("jawOpen", "browDown_L")}
    with pytest.raises(InputError, match="browDown, jawOpen"):
        check_shapes(replace(model, expressions=expressions))


def test_find_normals_and_rim_of_a_square():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 0]], float)
    triangles = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    np.testing.assert_allclose(find_normals(square, triangles), np.tile([0, 0, 1], (5, 1)), atol=1e-6)
    assert find_rim(triangles, 5).tolist() == [True, True, True, True, False]


def test_fit_head_finds_the_pose_of_a_head_that_it_is_shown(model, surface):
    rotation = Rotation.from_euler("YXZ", [0.15, -0.1, 0.05]).as_matrix()
    points = surface @ rotation.T
    scale = 2000.0 / (160 - points[:, 2])
    shown = np.c_[300 + scale * points[:, 0], 350 - scale * points[:, 1]]
    fit = fit_head(model, np.vstack([shown, shown[:10]]), (300, 350))
    angle = Rotation.from_matrix(fit.rotation @ rotation.T).magnitude()
    assert np.rad2deg(angle) < 4
    seen = fit.camera.project(fit.to_camera(fit.vertices[model.landmarks]))
    assert np.median(np.linalg.norm(seen - close_lips(shown), axis=1)) < 0.01 * np.ptp(shown[:, 0])


def test_close_lips_brings_lips_together_only_where_they_nearly_meet(landmarks):
    points = landmarks[:, :2].astype(float).copy()
    points[13], points[14] = points[13] * 0 + [200, 300], points[13] * 0 + [200, 303]
    for upper, lower in ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318)):
        points[lower] = points[upper] + [0, 2]
    for upper, lower in ((191, 95), (415, 324), (78, 78), (308, 308)):
        points[lower] = points[upper]
    closed = close_lips(points)
    np.testing.assert_allclose(closed[13], closed[14])
    open_mouth = points.copy()
    open_mouth[14] += [0, 40]
    np.testing.assert_array_equal(close_lips(open_mouth), open_mouth)


def test_cut_out_keeps_the_face_and_drops_the_corners(picture, landmarks):
    matte = cut_out(picture, landmarks)
    x, y = landmarks[4, :2].astype(int)
    assert matte.shape == picture.shape[:2] and 0 <= matte.min() and matte.max() <= 1
    assert matte[y, x] > 0.95


def test_at_rest_the_puppet_lies_on_the_photograph(puppet):
    pose = puppet.move(intensities({}), np.zeros(2))
    seen = puppet.fit.camera.project(puppet.fit.to_camera(pose.head[puppet.model.landmarks]))
    error = np.linalg.norm(seen - close_lips(puppet.landmarks[:468, :2].astype(float)), axis=1)
    assert np.median(error) < 0.01 * np.ptp(puppet.landmarks[:468, 0])
    np.testing.assert_allclose(pose.relief, puppet.relief.vertices, atol=1e-6)
    assert pose.lips_parted == 0


def test_actions_move_their_own_side(puppet):
    rest = moved(puppet, {})
    left, right = moved(puppet, {12: (1, 0)}) - rest, moved(puppet, {12: (0, 1)}) - rest
    assert left[291, 1] > 0.4 and abs(left[61, 1]) < 0.02
    assert right[61, 1] > 0.4 and abs(right[291, 1]) < 0.02
    brows = moved(puppet, {1: 1}) - rest
    assert brows[55, 1] > 0.4 and brows[285, 1] > 0.4 and np.abs(brows[152]).max() < 0.05


def test_half_an_action_moves_half_as_far(puppet):
    rest = moved(puppet, {})
    half, whole = moved(puppet, {26: 0.5}) - rest, moved(puppet, {26: 1.0}) - rest
    np.testing.assert_allclose(half, whole / 2, atol=1e-4)


@pytest.mark.parametrize("others", [{}, {5: 1.0}, {6: 1.0, 7: 1.0}])
def test_closed_lids_meet_whatever_else_moves(puppet, others):
    opening = moved(puppet, others | {43: 0})
    closed = moved(puppet, others | {43: 1})
    for upper, lower in ((159, 145), (386, 374)):
        before = opening[upper, 1] - opening[lower, 1]
        assert abs(closed[upper, 1] - closed[lower, 1]) < 0.35 * before


def test_au25_is_what_the_lips_show(puppet):
    dropped = puppet.move(intensities({26: 1.0}), np.zeros(2))
    smiling = puppet.move(intensities({12: 1.0}), np.zeros(2))
    assert dropped.lips_parted > 0.5 and smiling.lips_parted < 0.2


def test_the_relief_follows_the_jaw_and_leaves_the_shoulders(puppet):
    pose = puppet.move(intensities({26: 1.0}), np.zeros(2))
    shift = np.linalg.norm(pose.relief - puppet.relief.vertices, axis=1)
    assert shift.max() > 0.5
    low = puppet.relief.uv[:, 1] > 0.97
    assert shift[low].max() < 0.05


def test_a_reshaped_head_still_closes_its_lids(puppet, model):
    other = replace(puppet)
    other.reshape(model.identities[1])
    assert np.ptp(moved(other, {})[:, 1]) > np.ptp(moved(puppet, {})[:, 1]) + 0.2
    closed = moved(other, {43: 1})
    assert abs(closed[159, 1] - closed[145, 1]) < 0.2
    assert other.eyes["left"].centre[1] != puppet.eyes["left"].centre[1]


def test_eyes_look_into_the_camera_of_the_photograph_and_turn_from_there(puppet):
    for side in ("left", "right"):
        eye = puppet.eyes[side]
        to_camera = puppet.fit.to_head(np.array([0, 0, puppet.fit.camera.distance_cm])) - eye.centre
        np.testing.assert_allclose(turn(eye.gaze)[:, 2], to_camera / np.linalg.norm(to_camera), atol=1e-6)
    left, right = (puppet.eyes[side].gaze[0] for side in ("left", "right"))
    assert 0 < right - left < 0.08, "they converge"
    eye = puppet.eyes["left"]
    rest, turned = eye.place(np.zeros(2)), eye.place(np.array([0.3, 0.2]))
    pupil = turned[0] - rest[0]
    assert pupil[0] > 0.1 and pupil[1] < -0.1, "to the right of the picture, and down"
    np.testing.assert_allclose(np.linalg.norm(turned - eye.centre, axis=1), eye.radius_cm, atol=1e-4)


def test_every_labelled_action_has_shapes_but_the_lids():
    assert (*SHAPES, 43) == AUS


def test_glasses_go_round_the_eyes_and_before_them(puppet):
    *_, left, right = build_glasses(puppet, np.random.default_rng(0))
    for lens, side in ((left, "left"), (right, "right")):
        eye = puppet.eyes[side].centre
        assert (lens.points[:, :2].min(0) < eye[:2]).all() and (eye[:2] < lens.points[:, :2].max(0)).all()
        assert lens.points[:, 2].min() > eye[2] + 1


def test_a_mask_lies_before_the_mouth_and_follows_the_jaw(puppet):
    mask = build_mask(puppet.model, np.random.default_rng(0))
    ahead = place_head(np.zeros(3), PIVOT)
    rest, dropped = (mask.layer(puppet.move(intensities({26: v}), np.zeros(2)), ahead) for v in (0.0, 1.0))
    lips = puppet.fit.vertices[puppet.model.landmarks[[13, 14]]].mean(0)
    near = np.linalg.norm(rest.positions[:, :2] - lips[:2], axis=1).argmin()
    assert rest.positions[near, 2] > lips[2] - 0.3
    assert (rest.positions[:, 1] - dropped.positions[:, 1]).max() > 0.2


def test_furrows_deepen_with_their_actions_and_differ_between_people(landmarks):
    first, second = (draw_furrows(landmarks, (512, 600), np.random.default_rng(seed)) for seed in (0, 1))
    assert first.maps.shape == (len(GROUPS), 512, 512)
    assert (first.maps.min((1, 2)) < -0.03).all() and np.abs(first.maps).max() <= 1
    assert not np.array_equal(first.maps, second.maps)
    values = {au: np.zeros(2) for au in AUS}
    assert (first.weigh(values) == 0).all()
    deep = first.weigh(values | {12: np.array([1.0, 0.0])})
    assert deep[5, 0] > 0.5 and (deep[:, 1] == 0).all()
