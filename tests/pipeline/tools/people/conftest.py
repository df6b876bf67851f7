"""A head of ICT-FaceKit's layout, made of a detected face, and a folder of portraits: neither source is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tclr.pipeline.faces import detect_image, face_triangles
from tclr.pipeline.tools.people.head import mesh
from tclr.pipeline.tools.people.head.fit import INNER_LIPS
from tclr.pipeline.tools.people.head.puppet import SHAPES
from tclr.pipeline.tools.synth import load_portraits

N_POLYGONS = 21496
LANDMARKS = mesh.read_landmark_table()
SIDED = {"browInnerUp", "browOuterUp", "browDown", "eyeWide", "cheekSquint", "cheekRaiser", "eyeSquint", "noseSneer"}
SIDED |= {"mouthUpperUp", "mouthSmile", "mouthDimple", "mouthPress", "mouthFrown", "mouthStretch", "mouthLowerDown"}
SIDED |= {"eyeBlink", "eyeLookDown", "eyeLookUp"}
MOVES = {  # landmarks of the subject's right and left under which a shape pulls, and its pull in centimetres
    "browInnerUp": (55, 285, (0, 1.0, 0)), "browOuterUp": (46, 276, (0, 1.0, 0)), "browDown": (55, 285, (0, -0.8, 0)),
    "eyeBlink": (159, 386, (0, -0.9, 0)), "eyeWide": (159, 386, (0, 0.3, 0)), "mouthSmile": (61, 291, (-0.8, 0.8, 0)),
    "jawOpen": (14, 14, (0, -3.0, 0)), "mouthLowerDown": (84, 314, (0, -0.8, 0)),
}  # fmt: skip
"""What the shapes of this head do; pulls are those of the right side, mirrored on the left. Other shapes do nothing."""


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """Return a portrait before a plain backdrop, larger than its face: Grace Hopper, from matplotlib."""
    return load_portraits()[-1].picture


@pytest.fixture(scope="session")
def landmarks(picture) -> np.ndarray:
    """Return its landmarks."""
    (face,) = detect_image(picture)
    return face.landmarks


@pytest.fixture(scope="session")
def surface(landmarks) -> np.ndarray:
    """Return the detected face (468, 3) in centimetres, as the model has it: 15 cm wide, eyes at a height of 3.5."""
    points = landmarks[:468].astype(float) * [1, -1, -1]
    points *= 15 / np.ptp(points[:, 0])
    eyes = (points[33] + points[263]) / 2
    return points - eyes + [0, 3.5, 8.0]


@pytest.fixture(scope="session")
def faces(tmp_path_factory, surface) -> Path:
    """Return a folder of OBJ files in ICT-FaceKit's layout, whose face is the detected one."""
    folder = tmp_path_factory.mktemp("ICT-FaceKit") / "FaceXModel"
    folder.mkdir()
    neutral = _vertices(surface)
    _write(folder / mesh.NEUTRAL, neutral, _polygons(surface))
    for number, stretch in enumerate(([0.04, 0, 0], [0, 0.04, 0])):
        _write(folder / f"identity{number:03d}.obj", neutral * (1 + np.array(stretch)), [])
    names = {name for shapes in SHAPES.values() for name, _ in shapes} - {"browKnit"} | SIDED
    for name in sorted(names):
        for suffix in ("_L", "_R") if name in SIDED else ("",):
            _write(folder / f"{name}{suffix}.obj", neutral + _shift(name, suffix, neutral), [])
    return folder.parent


def _vertices(surface: np.ndarray) -> np.ndarray:
    """Return all vertices: landmarks where the table has them, the rest of the face on its nearest landmark."""
    vertices = np.zeros((mesh.N_USED, 3))
    vertices[: mesh.EYEBALLS["left"][0]] = surface[1]
    vertices[LANDMARKS] = surface
    sphere = np.random.default_rng(0).normal(size=(2000, 3))
    sphere *= 1.3 / np.linalg.norm(sphere, axis=1, keepdims=True)
    for side, corners in (("left", (362, 263)), ("right", (33, 133))):
        first, end = mesh.EYEBALLS[side]
        vertices[first:end] = surface[list(corners)].mean(0) - [0, 0, 1.4] + sphere[: end - first]
    return vertices


def _polygons(surface: np.ndarray) -> list[list[int]]:
    """Return mediapipe's triangles, anticlockwise from the camera, and empty ones for all other parts."""
    triangles = face_triangles()
    corners = surface[triangles]
    towards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2].sum()
    polygons = LANDMARKS[triangles if towards > 0 else triangles[:, ::-1]].tolist()
    return polygons + [[0, 0, 0]] * (N_POLYGONS - len(polygons))


def _shift(name: str, suffix: str, neutral: np.ndarray) -> np.ndarray:
    """Return the displacement of a shape: a soft pull about a landmark, on one side or both."""
    if name not in MOVES:
        return np.zeros_like(neutral)
    *anchors, pull = MOVES[name]
    total = np.zeros_like(neutral)
    for side, sign, anchor in (("_R", 1, anchors[0]), ("_L", -1, anchors[1])):
        if suffix in ("", side):
            place = neutral[LANDMARKS[anchor]]
            weight = np.exp(-0.5 * (((neutral - place) / [0.9, 0.35, 3]) ** 2).sum(1))
            if anchor in (14, 84, 314):
                weight[LANDMARKS[list(INNER_LIPS[0])]] = 0  # the upper lip stays
            total += weight[:, None] * np.array(pull) * [sign, 1, 1]
    return total


def _write(path: Path, vertices: np.ndarray, polygons: list[list[int]]) -> None:
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices]
    lines += ["f " + " ".join(f"{corner + 1}/1" for corner in corners) for corners in polygons]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def model(faces) -> mesh.FaceModel:
    """Return the head."""
    return mesh.read_model(faces)


@pytest.fixture(scope="session")
def portraits(tmp_path_factory, picture) -> Path:
    """Return a folder of portraits in webmorphR.stim's layout: one, and its mirror image."""
    folder = tmp_path_factory.mktemp("webmorphR.stim")
    for name, image in (("neutral_front/001_03", picture), ("canada/003f", picture[:, ::-1])):
        path = folder / "inst" / f"{name}.jpg"
        path.parent.mkdir(parents=True)
        Image.fromarray(image).save(path, quality=95)
    (folder / "inst/canada/._003f.jpg").write_bytes(b"left by an archiver")
    return folder
