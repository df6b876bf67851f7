"""Reads the morphable head that photo people wear: ICT-FaceKit's light model (MIT), a folder of OBJ files.

The folder ``FaceXModel`` holds one OBJ file per shape, all with the same 26,719 vertices: the mean head, 100 identity
shapes (one standard deviation along a principal component each) and 53 expressions. Vertices are in centimetres:
x towards the subject's left, y up, z towards the camera of a frontal portrait.

Source: Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from tclr.schemas.errors import InputError

NEUTRAL = "generic_neutral_mesh.obj"
N_USED = 24591
"""Vertices up to the eyeballs; tear fluid and lashes, which come later, stay away: the photograph has its own."""
N_FACE = 6706
"""Vertices of the narrow face area: forehead to chin, ear to ear."""
PARTS = {
    "face": (0, 6560),
    "head": (0, 11144),
    "socket": (11144, 13226),
    "gums": (14034, 17006),
    "teeth": (17006, 21496),
}
"""Polygons of each part, by position in the file: first and end."""
EYEBALLS = {"left": (21451, 23021), "right": (23021, 24591)}
"""Vertices of the subject's own left and right eyeball: first and end."""
BROW_BAND_CM = (3.9, 5.2)
"""Heights of the upper lids and of the brows on the mean head."""
LANDMARK_TABLE = "landmarks.csv"


@dataclass(frozen=True)
class FaceModel:
    """A morphable head. V vertices in centimetres; triangles are (F, 3) int32, anticlockwise from outside."""

    neutral: np.ndarray
    """(V, 3) float32: the mean head."""
    identities: np.ndarray
    """(K, V, 3) float32: displacement of each identity coefficient's standard deviation."""
    expressions: dict[str, np.ndarray]
    """(V, 3) float32 displacement by name; names that end in ``_L`` move the subject's left side."""
    triangles: dict[str, np.ndarray]
    """Triangles by part; "face" is a part of "head"."""
    landmarks: np.ndarray
    """(468,) int32: the vertex under each landmark of mediapipe's mesh, -1 where there is none."""
    eyes: dict[str, np.ndarray]
    """Vertices of each eyeball, "left" and "right"."""


def read_model(folder: Path) -> FaceModel:
    """Read ICT-FaceKit from its folder, or from the repository that holds it in ``FaceXModel``.

    Raises
    ------
    InputError
        If files are missing or are of another model.
    """
    home = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    if not (home / NEUTRAL).is_file():
        raise InputError(
            f"Expected ICT-FaceKit's '{NEUTRAL}' in {home}, but found none. Get the folder FaceXModel with: "
            "git clone https://github.com/ICT-VGL/ICT-FaceKit"
        )
    neutral = read_vertices(home / NEUTRAL)
    names = sorted(path.stem for path in home.glob("*.obj") if path.name != NEUTRAL)
    modes = [name for name in names if name.startswith("identity")]
    shapes = {name: read_vertices(home / f"{name}.obj") - neutral for name in names}
    return FaceModel(
        neutral=neutral,
        identities=np.stack([shapes.pop(name) for name in modes]),
        expressions=shapes | derive_shapes(neutral, shapes),
        triangles=_split_parts(read_polygons(home / NEUTRAL)),
        landmarks=read_landmark_table(),
        eyes={side: np.arange(*span, dtype=np.int32) for side, span in EYEBALLS.items()},
    )


def derive_shapes(neutral: np.ndarray, shapes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return shapes that the model lacks, of its own: "browKnit", what "noseSneer" does above the eyes.

    The model's "browDown" lowers the inner brows by 1.4 mm alone; corrugator and procerus lower them by twice as much.
    """
    rise = np.clip((neutral[:, 1:2] - BROW_BAND_CM[0]) / (BROW_BAND_CM[1] - BROW_BAND_CM[0]), 0, 1)
    above = rise * rise * (3 - 2 * rise)
    return {f"browKnit_{side}": above * shapes[f"noseSneer_{side}"] for side in "LR" if f"noseSneer_{side}" in shapes}


def read_vertices(path: Path, n_vertices: int = N_USED) -> np.ndarray:
    """Return the first vertices of an OBJ file, (n_vertices, 3) float32.

    Raises
    ------
    InputError
        If the file has fewer vertices.
    """
    lines = [line[2:] for line in path.read_text().splitlines() if line.startswith("v ")]
    if len(lines) < n_vertices:
        raise InputError(
            f"Expected at least {n_vertices} vertices in {path}, but got {len(lines)}. Get the file again."
        )
    return np.array(" ".join(lines[:n_vertices]).split(), np.float32).reshape(-1, 3)


def read_polygons(path: Path) -> list[list[int]]:
    """Return the corners of each polygon of an OBJ file, counted from 0."""
    lines = (line.split()[1:] for line in path.read_text().splitlines() if line.startswith("f "))
    return [[int(corner.partition("/")[0]) - 1 for corner in corners] for corners in lines]


def triangulate(polygons: list[list[int]]) -> np.ndarray:
    """Split polygons into fans of triangles, (F, 3) int32.

    >>> triangulate([[0, 1, 2, 3]]).tolist()
    [[0, 1, 2], [0, 2, 3]]
    """
    fans = [(corners[0], *pair) for corners in polygons for pair in zip(corners[1:-1], corners[2:], strict=True)]
    return np.array(fans, np.int32).reshape(-1, 3)


def _split_parts(polygons: list[list[int]]) -> dict[str, np.ndarray]:
    return {part: triangulate(polygons[first:end]) for part, (first, end) in PARTS.items()}


def read_landmark_table() -> np.ndarray:
    """Return the mesh's vertex under each of mediapipe's 468 landmarks, (468,) int32; -1 without one."""
    text = resources.files(__package__).joinpath(LANDMARK_TABLE).read_text()
    rows = list(csv.DictReader(text.splitlines()))
    return np.array([int(row["vertex"]) for row in rows], np.int32)
