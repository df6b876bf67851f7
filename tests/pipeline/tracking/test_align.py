import cv2
import numpy as np
import pytest
from skimage.transform import SimilarityTransform

from tclr.pipeline.tracking.align import (
    TEMPLATES,
    align_transform,
    anchor_points,
    compute_sharpness,
    fit_similarity,
    smooth_points,
    warp_crop,
)
from tclr.schemas.errors import InputError


def test_fit_similarity_equals_scikit_image():
    rng = np.random.default_rng(0)
    for _ in range(20):
        source, target = rng.normal(size=(2, 6, 2)) * 40
        expected = SimilarityTransform.from_estimate(source, target).params[:2]
        np.testing.assert_allclose(fit_similarity(source, target), expected, atol=1e-9)


def test_fit_similarity_recovers_a_known_transform():
    angle, scale, shift = 0.3, 1.7, np.array([5.0, -8.0])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    source = np.array([[0.0, 0.0], [10, 0], [3, 7]])
    target = scale * source @ rotation.T + shift
    expected = np.column_stack([scale * rotation, shift])
    np.testing.assert_allclose(fit_similarity(source, target), expected, atol=1e-12)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_align_transform_takes_a_template_shaped_face_onto_the_template(name):
    template = TEMPLATES[name]
    landmarks = np.zeros((68, 3))
    for group, point in zip(template.groups[68], template.points, strict=True):
        landmarks[list(group), :2] = point * 300 + (40, 90)
    transform = align_transform(landmarks, template, size=100, margin=1.0)
    aligned = anchor_points(landmarks, template) @ transform[:, :2].T + transform[:, 2]
    np.testing.assert_allclose(aligned, template.points * 100 - 0.5, atol=1e-9)


def test_arcface_template_is_insightfaces():
    # the five points of insightface's arcface_dst at 112 pixels
    expected = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    np.testing.assert_allclose(TEMPLATES["arcface"].points * 112, expected)


def test_align_transform_margin_zooms_out_around_the_centre():
    landmarks = np.random.default_rng(0).normal(size=(478, 3)) * 50 + 200
    near, far = (align_transform(landmarks, TEMPLATES["tclr"], 100, margin) for margin in (1.0, 2.0))
    scale = [np.sqrt(np.linalg.det(matrix[:, :2])) for matrix in (near, far)]
    assert scale[0] == pytest.approx(2 * scale[1])


def test_align_transform_refuses_another_number_of_landmarks():
    with pytest.raises(InputError, match="5 or 68 or 478 landmarks per face, but got 7"):
        align_transform(np.zeros((7, 3)), TEMPLATES["tclr"], 100, 1.0)


def moving(times_s, speed):
    """One point that moves at a constant speed, (m, 1, 2)."""
    return (np.array([3.0, 5.0]) + np.outer(times_s, speed))[:, None, :]


@pytest.mark.parametrize("acceleration", [0.0, 300.0])
def test_smooth_points_keeps_constant_speed_and_acceleration_exactly_also_at_the_ends(acceleration):
    times_s = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.07, 12))
    points = moving(times_s, (40.0, -7.0)) + acceleration * times_s[:, None, None] ** 2
    for i, at_s in enumerate(times_s):
        np.testing.assert_allclose(smooth_points(times_s, points, at_s, 0.08), points[i], atol=1e-9)


def test_smooth_points_of_one_frame_or_of_frames_at_one_time_is_their_mean():
    points = np.random.default_rng(2).normal(size=(4, 3, 2))
    np.testing.assert_allclose(smooth_points(np.zeros(1), points[:1], 0.0, 0.06), points[0])
    np.testing.assert_allclose(smooth_points(np.zeros(4), points, 0.0, 0.06), points.mean(axis=0))


@pytest.mark.parametrize("apart_s", [0, 1e-9, 1e-5])
def test_smooth_points_where_frames_share_two_times_is_the_mean_of_those_at_one(apart_s):
    points = np.random.default_rng(2).normal(size=(4, 3, 2))
    times_s = np.array([0, apart_s, 0.04, 0.04 + apart_s])
    np.testing.assert_allclose(smooth_points(times_s, points, 0.0, 0.06), points[:2].mean(axis=0), atol=1e-3)


def test_smooth_points_equals_a_weighted_least_squares_parabola():
    rng = np.random.default_rng(1)
    times_s, values = np.sort(rng.random(9)), rng.normal(size=(9, 2, 2))
    at_s, sigma_s = times_s[4], 0.2
    root = np.sqrt(np.exp(-0.5 * ((times_s - at_s) / sigma_s) ** 2))
    design = np.column_stack([np.ones(9), times_s - at_s, (times_s - at_s) ** 2]) * root[:, None]
    fitted = np.linalg.lstsq(design, values.reshape(9, 4) * root[:, None], rcond=None)[0][0]
    np.testing.assert_allclose(smooth_points(times_s, values, at_s, sigma_s).ravel(), fitted, atol=1e-9)


def test_warp_crop_moves_a_known_point_where_the_transform_says():
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(image, (120, 80), 4, (255, 255, 255), -1)
    transform = np.array([[0.8, 0.0, -40.0], [0.0, 0.8, -20.0]])
    crop = warp_crop(image, transform, 100)
    ys, xs = np.nonzero(crop[..., 0] > 100)
    np.testing.assert_allclose((xs.mean(), ys.mean()), transform @ (120, 80, 1), atol=0.3)


@pytest.mark.parametrize("scale", [0.11, 0.26, 0.4])
def test_warp_crop_downscales_without_aliasing_or_shift(scale):
    # a fine checkerboard must average to grey, and a blob must stay where the transform puts it
    image = np.indices((800, 800)).sum(axis=0) % 2 * np.uint8(255)
    image = np.repeat(image[..., None], 3, axis=2).astype(np.uint8)
    transform = np.array([[scale, 0, 3.0], [0, scale, 2.0]])
    size = int(700 * scale)
    grey = warp_crop(image, transform, size)[5:-5, 5:-5]
    assert abs(float(grey.mean()) - 127.5) < 3 and grey.std() < 26
    blob = np.zeros((800, 800, 3), np.uint8)
    cv2.circle(blob, (390, 410), 40, (255, 255, 255), -1)
    crop = warp_crop(blob, transform, size)[..., 0].astype(float)
    ys, xs = np.indices(crop.shape)
    centre = (xs * crop).sum() / crop.sum(), (ys * crop).sum() / crop.sum()
    np.testing.assert_allclose(centre, transform @ (390, 410, 1), atol=0.15)


def test_compute_sharpness_falls_with_blur_and_is_0_on_a_flat_crop():
    crop = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    values = [compute_sharpness(cv2.GaussianBlur(crop, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=True) and values[0] > 10 * values[-1]
    assert compute_sharpness(np.full((64, 64, 3), 80, np.uint8)) == 0


@pytest.mark.parametrize("shift", [(-60.3, -50.7), (40.5, 10.2), (-420, 0), (500, 500)])
def test_crop_is_what_opencv_cuts_of_the_whole_image(shift):
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8), (0, 0), 1)
    cosine, sine = 1.3 * np.cos(0.3), 1.3 * np.sin(0.3)
    transform = np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]])
    expected = cv2.warpAffine(image, transform, (96, 96), flags=cv2.INTER_LINEAR)
    crop = warp_crop(image, transform, 96)
    assert crop.shape == (96, 96, 3) and crop.flags.c_contiguous
    assert np.abs(crop.astype(int) - expected).max() <= 1
