import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tclr.pipeline.pretraining import geometry
from tclr.pipeline.pretraining.geometry import clip_targets, fit_rigid, mirror_index, movement, n_targets, upright
from tclr.pipeline.store import Store
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES

MESH_SPREAD = 60.0


def face(n_landmarks, seed=0):
    """A random face of the right kind of symmetry: no two points in one place, right and left at other sides of x=0."""
    rng = np.random.default_rng(seed)
    pairs, middle = geometry.TOPOLOGIES[n_landmarks].pairs, geometry.TOPOLOGIES[n_landmarks].middle
    points = rng.normal(0, MESH_SPREAD, (n_landmarks, 3))
    for right, left in pairs:
        points[left] = points[right] * (-1, 1, 1)
    points[list(middle), 0] = 0
    right, left = pairs[0]
    points[right], points[left] = (-45, -30, 5), (45, -30, 5)
    return points


def expression(n_landmarks, n_frames, seed=1):
    """Movement of points that the fit does not use; none in most frames, so that the median face does not move."""
    chosen = geometry.TOPOLOGIES[n_landmarks].chosen
    free = [point for point in chosen if point not in geometry.TOPOLOGIES[n_landmarks].rigid]
    moved = np.zeros((n_frames, n_landmarks, 3))
    frames = np.arange(0, n_frames, 3)
    moved[np.ix_(frames, free)] = np.random.default_rng(seed).uniform(-4, 4, (len(frames), len(free), 3))
    return moved, chosen


def posed(points, seed=2):
    rng = np.random.default_rng(seed)
    turns = Rotation.from_euler("xyz", rng.uniform(-25, 25, (len(points), 3)), degrees=True).as_matrix()
    scale = rng.uniform(0.7, 1.5, (len(points), 1, 1))
    return scale * (points @ turns.transpose(0, 2, 1)) + rng.uniform(100, 400, (len(points), 1, 3))


def eyes_and_middle(n_landmarks):
    return geometry.TOPOLOGIES[n_landmarks].pairs[0], geometry.TOPOLOGIES[n_landmarks].upright


@pytest.mark.parametrize("n_landmarks", [478, 68])
def test_movement_is_the_expression_whatever_pose_size_and_place(n_landmarks):
    moved, chosen = expression(n_landmarks, 31)
    clip = posed(face(n_landmarks) + moved)
    out = movement(clip.astype(np.float32))
    assert out.shape == (31, n_targets(n_landmarks)) and out.dtype == np.float32
    axes = upright(np.concatenate([face(n_landmarks), np.eye(3), np.zeros((1, 3))]), *eyes_and_middle(n_landmarks))
    turned = moved[:, chosen] @ (axes[-4:-1] - axes[-1])  # the face's own axes, whatever those of the clip
    np.testing.assert_allclose(out.reshape(31, -1, 3), turned / (90 * geometry.UNIT), atol=0.02)


def test_still_face_that_turns_does_not_move():
    clip = posed(np.repeat(face(478)[None], 20, axis=0))
    assert np.abs(movement(clip.astype(np.float32))).max() < 0.01


def test_two_people_who_do_the_same_move_alike():
    moved, _ = expression(478, 30)
    one, other = (movement(posed(face(478, seed) + moved, seed)) for seed in (3, 4))
    assert np.abs(one[..., 0::3] - other[..., 0::3]).max() < 0.05


def test_movement_is_cut_where_landmarks_jump_and_unknown_without_a_face():
    clip = posed(face(478) + expression(478, 12)[0])
    clip[4, 61] += 500
    clip[7] = np.nan
    out = movement(clip)
    assert np.isnan(out[7]).all() and np.isfinite(np.delete(out, 7, axis=0)).all()
    assert np.nanmax(np.abs(out)) == geometry.LIMIT
    assert np.isnan(movement(np.full((3, 478, 3), np.nan))).all()


def test_fit_agrees_with_scipys_rotation():
    reference = face(68)
    points = posed(reference[None] + np.random.default_rng(0).normal(0, 2, (5, 68, 3)))
    rigid = np.array(geometry.IBUG.rigid)
    fitted = fit_rigid(points, reference, rigid)
    for frame, result in zip(points, fitted, strict=True):
        a, b = frame[rigid] - frame[rigid].mean(axis=0), reference[rigid] - reference[rigid].mean(axis=0)
        turn = Rotation.align_vectors(b, a)[0]
        scale = (turn.apply(a) * b).sum() / (a**2).sum()
        expected = scale * turn.apply(frame - frame[rigid].mean(axis=0)) + reference[rigid].mean(axis=0)
        np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("n_landmarks", [478, 68])
def test_mirrored_picture_has_the_mirrored_movement(n_landmarks):
    clip = posed(face(n_landmarks) + expression(n_landmarks, 15)[0])
    partner = np.arange(n_landmarks)
    for right, left in geometry.TOPOLOGIES[n_landmarks].pairs:
        partner[[right, left]] = left, right
    # points outside the pairs that the fit uses keep their place: a mirrored random face is as good as any other
    mirrored = (clip * (-1, 1, 1) + (640, 0, 0))[:, partner]
    index, sign = mirror_index(n_targets(n_landmarks))
    np.testing.assert_allclose(movement(mirrored), movement(clip)[:, index] * sign, atol=0.02)


def test_targets_of_a_clip_are_movement_and_blendshapes_against_the_median(tmp_path, make_store):
    with Store(make_store(tmp_path / "store", n_subjects=1, n_frames=12, no_face=(3,))) as store:
        info, moved = store.clips[0], n_targets(68)
        targets, shapes = clip_targets(store, info), store.read(store.clips[0], "blendshapes")
        np.testing.assert_array_equal(targets[:, :moved], movement(store.read(info, "landmarks")))
    expected = (shapes - np.nanmedian(shapes, axis=0)) / geometry.BLENDSHAPE_UNIT
    np.testing.assert_allclose(targets[:, moved:], expected, rtol=1e-5)
    assert targets.shape == (12, moved + 52) and np.isnan(targets[3]).all() and np.isfinite(targets[4]).all()


def test_mirrored_picture_has_the_mirrored_blendshapes():
    index, sign = mirror_index(n_targets(478) + 52)
    names = [BLENDSHAPE_NAMES[i - n_targets(478)] for i in index[n_targets(478) :]]
    assert names[BLENDSHAPE_NAMES.index("mouthSmileLeft")] == "mouthSmileRight"
    assert names[BLENDSHAPE_NAMES.index("browDownRight")] == "browDownLeft"
    assert names[BLENDSHAPE_NAMES.index("jawOpen")] == "jawOpen" and (sign[n_targets(478) :] == 1).all()
    np.testing.assert_array_equal(index[index], np.arange(n_targets(478) + 52))


def test_landmarks_without_depth_tell_no_movement():
    clip = posed(np.repeat(face(68)[None], 10, axis=0))
    clip[..., 2] = 0
    assert np.isnan(movement(clip)).all()


def test_landmarks_of_an_unknown_kind_give_no_targets():
    assert n_targets(5) == 0
