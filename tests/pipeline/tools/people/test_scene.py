"""Head pose, gaze, camera and light: within their limits, and independent of the actions."""

from __future__ import annotations

import numpy as np
import pytest

from tclr.pipeline.faces import pose_from_rotation
from tclr.pipeline.tools.people.casting import cast_people
from tclr.pipeline.tools.people.clips import plan_clip
from tclr.pipeline.tools.people.head import Camera
from tclr.pipeline.tools.people.head.eyes import turn
from tclr.pipeline.tools.people.portraits import CHECKED, list_portraits
from tclr.pipeline.tools.people.render import projection_matrix
from tclr.pipeline.tools.people.scene import GAZE_LIMITS, POSE_LIMITS, plan_scene, spoil
from tclr.pipeline.tools.people.settings import PeopleSettings
from tclr.pipeline.tools.people.stage import pose_rotation
from tclr.schemas.errors import InputError, SettingError


def test_pose_rotation_has_the_angles_of_the_features():
    angles = np.array([0.2, -0.4, 0.1])
    np.testing.assert_allclose(pose_from_rotation(pose_rotation(angles)), angles, atol=1e-6)


def test_an_eye_that_turns_looks_right_and_down():
    x, y, z = turn(np.array([0.3, 0.2]))[:, 2]
    assert x > 0.2 and y < -0.1 and z > 0.9


def test_projection_matrix_agrees_with_the_camera():
    camera = Camera(110.0, 900.0, (130.0, 140.0))
    points = np.random.default_rng(0).uniform(-8, 8, (20, 3))
    clip = np.c_[points, np.ones(20)] @ projection_matrix(camera, (240, 300)).T
    seen = clip[:, :2] / clip[:, 3:]
    np.testing.assert_allclose((seen + 1) / 2 * [240, 300], camera.project(points) * [1, -1] + [0, 300], atol=1e-3)


def test_lift_is_the_inverse_of_project():
    camera = Camera(160.0, 5000.0, (300.0, 400.0))
    points = np.random.default_rng(0).uniform(-8, 8, (20, 3))
    np.testing.assert_allclose(camera.lift(camera.project(points), points[:, 2]), points, atol=1e-9)


def test_plan_scene_stays_within_its_limits_and_differs_by_seed():
    scenes = [plan_scene(75, (240, 300), np.random.default_rng(seed)) for seed in range(40)]
    pose = np.stack([scene.pose for scene in scenes])
    assert (np.abs(pose) <= POSE_LIMITS + 1e-9).all()
    assert np.abs(pose[..., 1]).max() > np.deg2rad(30) and np.abs(pose[..., 0]).max() > np.deg2rad(15)
    assert (np.abs(np.stack([scene.gaze for scene in scenes])) <= GAZE_LIMITS + 1e-9).all()
    assert len({scene.camera.distance_cm for scene in scenes}) == 40
    assert np.abs(np.diff(pose, axis=1)).max() < np.deg2rad(8)


def test_spoil_keeps_size_and_darkens_with_exposure():
    scene = plan_scene(10, (240, 300), np.random.default_rng(3))
    picture = np.full((300, 240, 3), 150, np.float32)
    bright, dark = (spoil(picture, scene.quality, gain, np.random.default_rng(0)) for gain in (1.0, 0.4))
    assert bright.shape == (300, 240, 3) and bright.dtype == np.uint8
    assert dark.mean() < bright.mean() - 20


def test_a_clip_is_planned_by_its_person_and_number_alone(portraits):
    settings = PeopleSettings(people=2, frames=20, seed=4)
    first, second = cast_people(list_portraits(portraits), 2, 4)
    once, again = plan_clip(second, 1, settings), plan_clip(second, 1, settings)
    np.testing.assert_array_equal(once[0], again[0])
    np.testing.assert_array_equal(once[1].pose, again[1].pose)
    assert not np.array_equal(plan_clip(second, 0, settings)[1].pose, once[1].pose)
    assert not np.array_equal(plan_clip(first, 1, settings)[1].pose, once[1].pose)


def test_cast_people_takes_every_portrait_once_a_round(portraits):
    found = list_portraits(portraits)
    roles = cast_people(found, 5, 0)
    assert [role.name for role in roles] == ["P000", "P001", "P002", "P003", "P004"]
    assert {role.portrait for role in roles[:2]} == {role.portrait for role in roles[2:4]} == set(found)
    assert [role.round for role in roles] == [0, 0, 1, 1, 2]
    assert cast_people(found, 3, 0) == roles[:3]
    assert cast_people(found, 5, 1) != roles


def test_list_portraits_leaves_out_names_and_hidden_files(portraits):
    assert [portrait.name for portrait in list_portraits(portraits)] == ["001_03", "003f"]
    assert [portrait.name for portrait in list_portraits(portraits, {"003f"})] == ["001_03"]
    assert len(CHECKED) > 40 and "001_03" not in CHECKED


def test_list_portraits_says_what_is_missing(tmp_path, portraits):
    with pytest.raises(InputError, match=r"git clone https://github.com/debruine/webmorphR.stim"):
        list_portraits(tmp_path)
    with pytest.raises(InputError, match="Unknown portraits: nobody"):
        list_portraits(portraits, {"nobody"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("people", 0), ("clips", 27), ("frames", 9), ("seed", -1), ("width", 90), ("height", 301), ("occluded", 1.5)],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(SettingError, match=str(value)):
        PeopleSettings(**{name: value})
