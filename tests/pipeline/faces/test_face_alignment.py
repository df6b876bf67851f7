"""The face-alignment backend, on networks that stand in for the published weights.

Two kinds: the real architectures with random weights, for loading and for equality with the package; and scripted
networks that read a painted face, so that boxes, scores and landmarks are known.
"""

from contextlib import closing
from importlib.metadata import version

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from face_alignment import FaceAlignment, LandmarksType
from face_alignment.detection.blazeface import FaceDetector as PackageBlazeFace
from face_alignment.detection.sfd import FaceDetector as PackageSfd
from face_alignment.models import FAN
from face_alignment.utils import shuffle_lr
from scipy.spatial.transform import Rotation

from tclr.cli.path.embed import command
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.export import embed
from tclr.pipeline.faces import detect_image, ensure_models, face_alignment, models, open_detector
from tclr.pipeline.faces.face_alignment import POSE_POINTS, FaceAlignmentDetector, decode_sfd, fit_pose
from tclr.pipeline.faces.models import BLAZEFACE, FAN_2D, S3FD, find_weights
from tclr.pipeline.features import load
from tclr.pipeline.preprocessing import extract_clip, survey_clip
from tclr.pipeline.sources import find_clips
from tclr.pipeline.store import Store
from tclr.pipeline.store.damage import verify_clip
from tclr.pipeline.views.report import write_report
from tclr.schemas.config import AlignConfig, DetectConfig, EmbedConfig, PreprocessConfig
from tclr.schemas.errors import ModelError, StoreError
from tclr.schemas.store import Status

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = DetectConfig(detector="face-alignment", max_faces=3)
# which of mediapipe's landmarks lie where iBUG's do
IBUG = [162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389]
IBUG += [71, 63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305]
IBUG += [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291]
IBUG += [405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
COLOURS = np.array([[30 + 25 * (k % 9), 30 + 25 * (k // 9), 255] for k in range(68)])


class ScriptedSfd(torch.nn.Module):
    """Finds rectangles whose blue is 100, 120, 140: faces with scores of 0.9, 0.8, 0.7."""

    def forward(self, x):
        blue = (x[:, 0] + 104).round()
        nothing = [torch.tensor([0.0, -20]).view(1, 2, 1, 1), torch.zeros(1, 4, 1, 1)]
        outputs = [part.repeat(len(x), 1, 1, 1) for _ in range(6) for part in nothing]
        rows, columns = x.shape[2] // 16 + 1, x.shape[3] // 16 + 1
        scores = torch.tensor([0.0, -20]).view(1, 2, 1, 1).repeat(len(x), 1, rows, columns)
        offsets = torch.zeros(len(x), 4, rows, columns)
        for i, picture in enumerate(blue):
            for face in range(3):
                where = ((picture - (100 + 20 * face)).abs() < 4).nonzero()
                if len(where):
                    (y0, x0), (y1, x1) = where.amin(0).tolist(), (where.amax(0) + 1).tolist()
                    centre, size = np.array([x0 + x1, y0 + y1]) / 2, np.array([x1 - x0, y1 - y0])
                    column, row = (centre // 16).astype(int)
                    score = 0.9 - 0.1 * face
                    scores[i, 1, row, column] = np.log(score / (1 - score))
                    shift = (centre - 16 * np.array([column + 0.5, row + 0.5])) / 6.4
                    offsets[i, :, row, column] = torch.tensor([*shift, *np.log(size / 64) / 0.2])
        outputs[4:6] = [scores, offsets]
        return outputs


class ScriptedFan(torch.nn.Module):
    """Sees a landmark where a dot has its colour; recognises a mirrored face as FAN does, by its look."""

    def forward(self, x):
        distance = (x[:, None] * 255 - torch.from_numpy(COLOURS).view(1, 68, 3, 1, 1)).abs().amax(2)
        heat = torch.nn.functional.avg_pool2d((12 - distance).clamp(min=0), 4)
        for i, maps in enumerate(heat):
            column = maps.amax(1).argmax(1)
            if column[39] > column[42]:
                heat[i] = shuffle_lr(maps)
        return [torch.zeros_like(heat), heat]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("TCLR_MODELS", raising=False)
    monkeypatch.setattr(models.urllib.request, "urlopen", lambda *a, **k: pytest.fail("reached for the network"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    find_weights.cache_clear()
    yield folder
    find_weights.cache_clear()


@pytest.fixture
def scripted(cache, monkeypatch):
    """Scripted networks in place of SFD and FAN."""
    for weights in (FAN_2D, S3FD):
        torch.save({}, cache / weights.name)
    monkeypatch.setattr(face_alignment, "s3fd", ScriptedSfd)
    monkeypatch.setattr(face_alignment, "FAN", lambda size: ScriptedFan())


@pytest.fixture(scope="session")
def real_networks(tmp_path_factory):
    """The real architectures with random weights, as files in a folder; of FAN one stage of its four, for speed."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for weights, network in (
        (FAN_2D, FAN(1)),
        (S3FD, face_alignment.s3fd()),
        (BLAZEFACE, face_alignment.BlazeFace()),
    ):
        torch.save(network.state_dict(), folder / weights.name)
    return folder


@pytest.fixture(scope="session")
def portrait_layout(portrait):
    """(68, 2) landmarks of a real face, as fractions of their bounding box."""
    points = detect_image(portrait)[0].landmarks[IBUG, :2]
    return (points - points.min(axis=0)) / np.ptp(points, axis=0)


def grid_layout():
    """(68, 2) places that are well apart, as fractions of the box; 39 is left of 42."""
    k = np.arange(68)
    shift = np.random.default_rng(0).uniform(-0.25, 0.25, (68, 2))
    return (np.column_stack([k % 9, k // 9]) + 0.5 + shift) / [9, 8]


def paint_face(image, box, face=0, layout=None):
    """Paint a face that the scripted networks see; return its landmarks."""
    layout = grid_layout() if layout is None else layout
    x0, y0, x1, y1 = box
    cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), (0, 0, 100 + 20 * face), -1)
    points = np.round([x0, y0] + (0.08 + 0.84 * layout) * [x1 - x0, y1 - y0]).astype(int)
    radius = max(1, (x1 - x0) // 100)  # some pixels in what FAN sees
    for point, colour in zip(points, COLOURS.tolist(), strict=True):
        cv2.rectangle(image, point - radius, point + radius, colour, -1)
    return points


def cell_px(box):
    """Return the side of a heat map's cell in source pixels: the window is 200/195 of both sides of the box."""
    return (box[2] - box[0] + box[3] - box[1]) * 200 / 195 / 64


@pytest.mark.parametrize("box", [(60, 40, 260, 260), (200, 90, 310, 220), (-30, 60, 120, 230), (250, -40, 420, 140)])
def test_detect_finds_painted_landmarks(scripted, box):
    image = np.zeros((300, 400, 3), np.uint8)
    truth = paint_face(image, box)
    with closing(open_detector(CONFIG)) as detector:
        ((found,),) = detector.detect([image], [0.0])
    assert found.landmarks.shape == (68, 3) and found.landmarks.dtype == np.float32 and not found.landmarks[:, 2].any()
    assert found.score == pytest.approx(0.9, abs=1e-5) and found.blendshapes is None
    seen = ((truth >= 1) & (truth < [399, 299])).all(axis=1)
    error = (found.landmarks[:, :2] - truth)[seen]
    assert np.abs(error).max() <= cell_px(box) / 2 + 1
    assert np.abs(error.mean(axis=0)).max() <= 1.5  # the package cuts window and landmarks down to whole pixels


def test_detect_keeps_the_best_faces_of_each_frame_of_a_batch(scripted):
    boxes = [(300, 100, 400, 210), (20, 20, 100, 110), (500, 80, 600, 180)]  # so far apart that windows do not meet
    images = [np.zeros((300, 640, 3), np.uint8) for _ in range(4)]
    truth = {}
    for row, faces in enumerate([(0, 1, 2), (), (2, 1), (0,)]):
        for face in faces:
            truth[row, face] = paint_face(images[row], boxes[face], face)
    with closing(FaceAlignmentDetector(CONFIG, video=True, n_faces=2)) as detector:
        found = detector.detect(images, [0, 0.04, 0.08, 0.12])
        alone = [detector.detect([image], [0.0])[0] for image in images]
        everyone = detector.look(images[0])
    assert [[round(face.score, 3) for face in faces] for faces in found] == [[0.9, 0.8], [], [0.8, 0.7], [0.9]]
    assert [round(face.score, 3) for face in everyone] == [0.9, 0.8, 0.7]
    for row, faces in enumerate([(0, 1), (), (1, 2), (0,)]):
        for number, face in enumerate(faces):
            landmarks = found[row][number].landmarks
            assert np.abs(landmarks[:, :2] - truth[row, face]).max() <= cell_px(boxes[face]) / 2 + 1
            np.testing.assert_array_equal(landmarks, alone[row][number].landmarks)


def test_detect_takes_images_of_several_sizes_and_scales_large_ones_down(scripted):
    images = [np.zeros(shape, np.uint8) for shape in ((200, 200, 3), (1080, 1920, 3), (200, 200, 3))]
    truth = [paint_face(images[0], (30, 30, 160, 170)), paint_face(images[1], (900, 300, 1300, 800))]
    with closing(open_detector(CONFIG)) as detector:
        (small,), (large,), nothing = detector.detect(images, [0, 0, 0])
    assert nothing == []
    assert np.abs(small.landmarks[:, :2] - truth[0]).max() <= cell_px((30, 30, 160, 170)) / 2 + 1
    assert np.abs(large.landmarks[:, :2] - truth[1]).max() <= cell_px((900, 300, 1300, 800)) / 2 + 1


def test_detect_drops_boxes_whose_centre_is_outside_the_picture(scripted, monkeypatch):
    def outside(self, images, device):
        return [np.array([[-90.0, 10, 20, 90, 0.9], [10, 10, 10.2, 60, 0.9]])] * len(images)

    monkeypatch.setattr(face_alignment._Sfd, "find", outside)
    with closing(open_detector(CONFIG)) as detector:
        assert detector.detect([np.zeros((100, 100, 3), np.uint8)], [0.0]) == [[]]


def test_score_crop_is_the_face_detectors_score(scripted):
    crop = np.zeros((128, 128, 3), np.uint8)
    with closing(open_detector(CONFIG)) as detector:
        assert detector.score_crop(crop) == 0
        paint_face(crop, (10, 10, 118, 118), face=1)
        assert detector.score_crop(crop) == pytest.approx(0.8, abs=1e-5)


def test_detect_equals_the_package_on_the_same_boxes(cache, real_networks, portrait, monkeypatch):
    for module in ("face_alignment.api", "tclr.pipeline.faces.face_alignment"):
        monkeypatch.setattr(f"{module}.FAN", lambda size: FAN(1))
    for weights in (FAN_2D, S3FD):
        (cache / weights.name).symlink_to(real_networks / weights.name)
    boxes = np.array([[180, 60, 290, 200, 0.9], [-20.3, 30.5, 90.2, 170.1, 0.8], [400, 420, 520, 530, 0.7]])
    monkeypatch.setattr(face_alignment._Sfd, "find", lambda self, images, device: [boxes] * len(images))
    with closing(open_detector(CONFIG)) as detector:
        (found,) = detector.detect([portrait], [0.0])
    package = FaceAlignment(LandmarksType.TWO_D, device="cpu", compile=False, max_batch_size=3)
    expected = package.get_landmarks_from_image(portrait, detected_faces=list(boxes))
    np.testing.assert_allclose([face.landmarks[:, :2] for face in found], expected, atol=1e-4)
    assert all(np.isfinite(face.landmarks).all() for face in found)


def test_decode_sfd_equals_the_package(real_networks):
    package = PackageSfd("cpu", str(real_networks / S3FD.name), filter_threshold=0.52)
    images = torch.randint(0, 255, (3, 3, 72, 104), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = package.detect_from_batch(images)
    with torch.no_grad():
        mean = torch.tensor(face_alignment.SFD_MEAN_BGR).view(1, 3, 1, 1)
        found = decode_sfd(package.face_detector(images.float().flip(1) - mean), 0.52)
    assert len(found) == 3 and min(len(boxes) for boxes in found) > 0
    for boxes, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(boxes, np.array(others), rtol=1e-5)


@pytest.fixture
def blazeface_with_sized_boxes(real_networks, tmp_path):
    """Random weights whose boxes all have a size: at others the package's suppression never ends."""
    state = torch.load(real_networks / BLAZEFACE.name, weights_only=True)
    for name in ("regressor_8.bias", "regressor_16.bias"):
        state[name].view(-1, 16)[:, 2:4] = 40
    torch.save(state, tmp_path / "sized.pth")
    return tmp_path / "sized.pth"


def test_blazeface_finds_what_the_package_finds_in_a_square(blazeface_with_sized_boxes, tmp_path):
    np.save(tmp_path / "anchors.npy", face_alignment._blazeface_anchors())
    paths = (str(blazeface_with_sized_boxes), str(tmp_path / "anchors.npy"))
    package = PackageBlazeFace("cpu", False, *paths, min_score_thresh=0.5)
    images = np.random.default_rng(0).integers(0, 255, (2, 128, 128, 3), np.uint8)
    expected = package.detect_from_batch(images.transpose(0, 3, 1, 2))
    with torch.inference_mode():
        ours = face_alignment._BlazeFace(blazeface_with_sized_boxes, 0.5)
        found = ours.find(list(images), torch.device("cpu"))
    assert min(len(boxes) for boxes in found) > 0
    for boxes, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(boxes, others[np.argsort(-others[:, 4], kind="stable")], rtol=1e-4, atol=1e-3)


def test_blazeface_ends_at_boxes_of_no_size(real_networks):
    with torch.inference_mode():
        ours = face_alignment._BlazeFace(real_networks / BLAZEFACE.name, 0.0)
        (boxes,) = ours.find([np.zeros((90, 60, 3), np.uint8)], torch.device("cpu"))
    assert (boxes[:, 2:4] > boxes[:, :2]).all()


def test_blazeface_sees_the_whole_of_a_wide_picture(real_networks, monkeypatch):
    ours = face_alignment._BlazeFace(real_networks / BLAZEFACE.name, 0.5)
    seen = []

    def at_the_right_edge(squares, device):
        seen.append(squares)
        face = np.zeros((1, 17))
        face[0, :4], face[0, 16] = [0.375, 0.75, 0.625, 1.0], 0.9  # y0 x0 y1 x1 of the square
        return [face] * len(squares)

    monkeypatch.setattr(ours, "_predict", at_the_right_edge)
    (boxes,) = ours.find([np.full((180, 320, 3), 255, np.uint8)], torch.device("cpu"))
    assert seen[0].shape == (1, 128, 128, 3) and seen[0][0, :, :, 0].any(axis=1).sum() == 72
    np.testing.assert_allclose(boxes, [[240, 50, 320, 130, 0.9]], atol=1e-5)


def test_blazeface_anchors_begin_as_the_published_table():
    anchors = face_alignment._blazeface_anchors()
    assert anchors.shape == (896, 4)
    np.testing.assert_allclose(anchors[:4, 0], [0.03125, 0.03125, 0.09375, 0.09375])
    np.testing.assert_allclose(
        anchors[[511, 512, 518]], [[0.96875] * 2 + [1, 1], [0.0625] * 2 + [1, 1], [0.1875, 0.0625, 1, 1]]
    )


@pytest.mark.parametrize("angles", [(0, 0, 0), (15, 0, 0), (0, 30, 0), (0, 0, 20), (-10, -25, -35), (20, 40, 10)])
def test_fit_pose_recovers_known_rotations(angles):
    pitch, yaw, roll = np.radians(angles)
    rotation = Rotation.from_euler("YXZ", [yaw, pitch, roll]).as_matrix()
    model = np.zeros((68, 3))
    model[list(POSE_POINTS)] = list(POSE_POINTS.values())
    head = model @ rotation.T + [4.0, 3.0, -45.0]  # right of the middle, above it, 45 cm away
    focal = 540 / np.tan(np.radians(63) / 2)
    picture = np.column_stack([959.5 - focal * head[:, 0] / head[:, 2], 539.5 + focal * head[:, 1] / head[:, 2]])
    np.testing.assert_allclose(np.degrees(fit_pose(picture, 1920, 1080)), angles, atol=0.01)
    nose, eyes = picture[30], picture[[36, 39, 42, 45]].mean(axis=0)
    if angles == (0, 30, 0):
        assert nose[0] > eyes[0] + 20  # yaw > 0: the nose is to the right
    if angles == (0, 0, 20):
        assert picture[45, 1] < picture[36, 1]  # roll > 0: anticlockwise, the eye on the right is higher


def test_fit_pose_is_near_mediapipes(portrait):
    (face,) = detect_image(portrait)
    pose = fit_pose(face.landmarks[IBUG], portrait.shape[1], portrait.shape[0])
    difference = np.abs(np.degrees(pose - face.pose))
    assert difference[0] < 13 and difference[1:].max() < 4  # pitch depends on how long the person's nose is


def test_fit_pose_is_unknown_where_all_landmarks_are_one_point():
    pose = fit_pose(np.full((68, 3), 7.0), 100, 100)
    assert pose.shape == (3,) and pose.dtype == np.float32


def test_name_tells_version_and_weights(scripted):
    with closing(open_detector(CONFIG)) as detector:
        digests = [find_weights(weights)[1][:8] for weights in (S3FD, FAN_2D)]
        assert detector.name == f"face-alignment {version('face-alignment')}, sfd {digests[0]}, 2DFAN-4 {digests[1]}"


def test_damaged_weights_are_told_in_one_line(cache, real_networks):
    (cache / S3FD.name).symlink_to(real_networks / S3FD.name)
    for content in (b"damaged", b""):
        (cache / FAN_2D.name).write_bytes(content)
        find_weights.cache_clear()
        with pytest.raises(ModelError, match=r"Cannot load weights of FAN from .*2DFAN4.*Delete that file") as caught:
            open_detector(CONFIG)
        assert "\n" not in str(caught.value)
    (cache / FAN_2D.name).unlink()
    (cache / FAN_2D.name).symlink_to(real_networks / S3FD.name)
    with pytest.raises(ModelError, match="Cannot load weights of"):
        open_detector(CONFIG)


def test_detector_falls_back_to_the_cpu_when_the_gpu_is_full(scripted, monkeypatch, caplog):
    def full(self, device):
        if torch.device(device).type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return self

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ScriptedFan, "to", full)
    monkeypatch.setattr(ScriptedSfd, "to", full)
    image = np.zeros((200, 200, 3), np.uint8)
    paint_face(image, (30, 30, 160, 170))
    with caplog.at_level("INFO"), closing(open_detector(CONFIG)) as detector:
        assert len(detector.detect([image], [0.0])[0]) == 1
        assert detector.batch_size == face_alignment.BATCH_SIZE["cpu"]
    assert "no memory left" in caplog.text and "runs on cpu" in caplog.text


def test_check_models_wants_the_weights_of_the_chosen_face_detector(cache, monkeypatch):
    torch.save({}, cache / FAN_2D.name)
    torch.save({}, cache / S3FD.name)
    ensure_models(CONFIG)

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(models.urllib.request, "urlopen", refuse)
    with pytest.raises(ModelError, match=r"blazeface.pth is not on this machine.*no network.*TCLR_MODELS"):
        ensure_models(CONFIG.model_copy(update={"face_detector": "blazeface"}))


def test_clip_becomes_store_report_and_features_without_blendshapes(scripted, portrait_layout, tmp_path):
    images = [np.full((240, 320, 3), 16, np.uint8) for _ in range(12)]
    boxes = [(50 + i, 20, 250 + i, 220) for i in range(12)]
    truth = [paint_face(image, box, layout=portrait_layout) for image, box in zip(images, boxes, strict=True)]
    images[6][:] = 16
    (tmp_path / "in" / "anna" / "a").mkdir(parents=True)
    for number, image in enumerate(images):  # a video would blur the colours
        cv2.imwrite(str(tmp_path / "in" / "anna" / "a" / f"{number:04d}.png"), image[..., ::-1])
    (clip,) = find_clips(tmp_path / "in")
    store_path = tmp_path / "store"
    extract_clip(survey_clip(clip, PreprocessConfig(CONFIG, AlignConfig(size=64))), store_path / "subjects" / "anna.h5")
    with Store(store_path) as store:
        (info,) = store.clips
        verify_clip(store, info)
        assert store.read(info, "landmarks").shape == (12, 68, 3) and "blendshapes" not in store.fields(info)
        assert info.attrs.detector.startswith("face-alignment ")
        status = store.read(info, "status")
        assert status[6] == Status.interpolated and (np.delete(status, 6) == Status.ok).all()
        assert np.abs(store.read(info, "landmarks")[3, :, :2] - truth[3])[[30, 36, 45, 48, 54]].max() < 4
        assert np.isfinite(store.read(info, "pose")).all()
    encoder = load_encoder("random", seed=0)
    result = embed(store_path, tmp_path / "features", encoder, EmbedConfig())
    assert result.au_source == "none" and result.n_rows == 12
    arguments = [str(store_path), str(tmp_path / "features"), "--encoder", "random"]
    said = CliRunner().invoke(command, arguments, catch_exceptions=False).output
    assert "1 were done before" in said and "no AU columns" in said and "Leave --encoder out" in said
    table = load(tmp_path / "features")
    assert not [name for name in table.columns if name.startswith(("AU", "bs_"))]
    assert table["yaw"].notna().all() and table["emb_000"].notna().all()
    with pytest.raises(StoreError, match="blendshapes.*anna/a.*mediapipe"):
        embed(store_path, tmp_path / "other", encoder, EmbedConfig(blendshapes=True))
    write_report(store_path, tmp_path / "report.html", features=tmp_path / "features")
    assert "anna / a" in (tmp_path / "report.html").read_text()
