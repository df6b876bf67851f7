"""The recipe of the gaze finds the numbers that painted people were made with, and knows where photo people look."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tclr.pipeline.geometry import GazeModel, align_face, mean_face, measure_gaze, measure_openness
from tclr.pipeline.system import write_json, write_text
from tclr.pipeline.tools.gaze import read_clip_truth
from tclr.pipeline.tools.gaze.calibrate import PersonFrames, fit_gaze, judge
from tclr.pipeline.tools.gaze.truth import MESH_RADIUS_CM, PUPIL_RADIUS_CM
from tclr.pipeline.tools.people import PeopleSettings, pose_rotation, recall_scene
from tclr.pipeline.tools.people.files import FORMAT

MODEL = GazeModel(across=(0.02, 3.0, 0.5), up=(-0.05, 4.0, 0.1))
N = 60


def paint_person(name, seed):
    """Frames of a person whose eyes look as ``MODEL`` says of their irises and their head."""
    rng = np.random.default_rng(seed)
    points = np.repeat(mean_face()[0][None], N, axis=0)
    shift = rng.uniform(-0.03, 0.03, (N, 1, 2))
    points[:, 468:, :2] += shift
    turns = Rotation.from_euler("YXZ", rng.uniform(-15, 15, (N, 3)), degrees=True).as_matrix()
    landmarks = np.einsum("nij,nkj->nki", turns, points) * 90 * (1, -1, -1)
    gaze = measure_gaze(landmarks, align_face(landmarks), measure_openness(landmarks), MODEL)[:, :2].astype(float)
    pitch, yaw = gaze[..., 0], gaze[..., 1]
    looks = np.stack([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)], axis=-1)
    return PersonFrames(name, landmarks, (640, 360), looks, turns, np.zeros((N, 2)), np.zeros((N, 3)), 500.0)


def test_the_fit_finds_the_model_that_people_were_made_with():
    found = fit_gaze([paint_person("P000", 0), paint_person("P001", 1)])
    np.testing.assert_allclose(found.across, MODEL.across, atol=2e-3)
    np.testing.assert_allclose(found.up, MODEL.up, atol=2e-3)


def test_errors_are_those_of_other_people_and_head_pose_alone_is_worse():
    fitted, judged = [paint_person("P000", 0)], [paint_person("P001", 1)]
    irises, pose = (judge(judged, fit_gaze(fitted, irises=with_irises)) for with_irises in (True, False))
    assert irises.loc["yaw", "error_deg"] < 0.5 and irises.loc["yaw", "slope"] == pytest.approx(1, abs=0.05)
    assert pose.loc["yaw", "error_deg"] > 3 and irises.loc["pitch", "people"] == 1


def test_the_truth_is_that_of_eyes_of_human_size(tmp_path):
    settings = PeopleSettings(people=1, clips=1, frames=40, seed=2)
    scene = recall_scene("P000", "a", settings)
    assert np.abs(scene.gaze).max() > 0.05  # else the eyes of this seed stay still
    write_json(tmp_path / "settings.json", {"format": FORMAT, **asdict(settings)})
    turned = np.repeat(scene.gaze[:, None], 2, axis=1)  # in the photograph these eyes look straight out of the head
    lines = [
        f"{row},{','.join(f'{value:.6f}' for value in values)}" for row, values in enumerate(turned.reshape(-1, 4))
    ]
    write_text(tmp_path / "gaze/P000_a.csv", "\n".join(["frame,a,b,c,d", *lines]))
    write_text(
        tmp_path / "sides/P000_a.csv", "\n".join(["frame,AU43_L,AU43_R", *(f"{row},0.5,0.25" for row in range(40))])
    )
    truth = read_clip_truth(tmp_path, "P000", "a")
    in_head = np.einsum("tji,tej->tei", truth.rotation, truth.looks)
    expected = np.sin(scene.gaze[:, 0]) * np.cos(scene.gaze[:, 1]) * MESH_RADIUS_CM / PUPIL_RADIUS_CM
    np.testing.assert_allclose(in_head[:, 0, 0], expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(truth.looks, axis=2), 1)
    # relative to the line of sight the head is turned by less than its distance from the axis explains
    turn = np.stack([pose_rotation(angles) for angles in scene.pose])
    away = np.arccos(np.clip((np.einsum("tij,tij->t", turn, truth.rotation) - 1) / 2, -1, 1))
    off_axis = np.arctan2(np.hypot(*truth.place_mm[:, :2].T), truth.place_mm[:, 2])
    np.testing.assert_allclose(away, off_axis, atol=1e-3)
    assert truth.closed[0].tolist() == [0.5, 0.25]
