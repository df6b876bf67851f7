"""Animates portraits: warps a picture triangle by triangle, following action units and pose.

A puppet's vertices are mediapipe's 478 landmarks and rings of points around the face's oval, out to the border.
Eyeballs and the inside of the mouth are painted behind lids and lips. Pictures are (height, width, 3) RGB;
vertices are in pixels: x right, y down, z away from the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tclr.pipeline.faces import detect_image, face_triangles
from tclr.pipeline.tools.synth import action_warp
from tclr.pipeline.tools.synth.portraits import load_portraits
from tclr.schemas.errors import ModelError

FACE_HEIGHT = 0.46
"""Height of the face (forehead to chin) as a share of the frame, about as in BP4D."""
CANVAS = 1.25
"""Size of the picture relative to the frame: the head can move without showing an edge."""
RINGS = {1.18: (1.0, 0.75), 1.45: (1.0, 0.35), 1.9: (0.75, 0.0), 2.8: (0.25, 0.0), 6.0: (0.0, 0.0)}
"""Rings of skin, hair and background around the face: size -> (share of head rotation, share of action)."""

CREASE_TINT = np.array([0.75, 1.05, 1.15], np.float32)
"""Relative darkening of red, green and blue in a furrow: skin in shadow is redder."""


@dataclass(frozen=True)
class Puppet:
    """A portrait that is ready for animation.

    ``texture`` is (canvas, canvas, 3) float32 RGB. The vertices are ``source`` (n, 2) in canvas pixels and ``rest``
    (n, 3) in frame pixels: 478 landmarks, then 36 per ring. ``moves`` and ``shades`` come from `action_warp`; shades
    cover the part of the canvas from ``face_corner`` (x, y) on. ``triangles`` (m, 3) are sorted from far to near.
    """

    texture: np.ndarray
    source: np.ndarray
    rest: np.ndarray
    moves: np.ndarray
    shades: np.ndarray
    face_corner: tuple[int, int]
    triangles: np.ndarray
    size_px: int
    glasses: bool


def build_puppet(subject: int, *, size_px: int, rng: np.random.Generator) -> Puppet:
    """Build the puppet of a subject's index: a portrait, or a mirrored, recoloured and reshaped variant of one."""
    portraits = load_portraits()
    variant, which = divmod(subject, len(portraits))
    portrait = portraits[which]
    picture = np.ascontiguousarray(portrait.picture[:, ::-1]) if variant % 2 else portrait.picture
    faces = detect_image(picture)
    if not faces:
        raise ModelError(
            f"Expected a face in the portrait of demo subject {subject}, but the detector found none. "
            "Check that the model file fits this version of mediapipe, or report this."
        )
    height_px = FACE_HEIGHT * size_px * (rng.uniform(0.92, 1.08) if variant else 1.0)
    found = np.asarray(faces[0].landmarks, np.float32)
    texture, landmarks = _crop(picture, found, height_px, round(CANVAS * size_px))
    rest = action_warp.relax_smile(landmarks, portrait.smile) if portrait.smile else landmarks.copy()
    if variant:
        texture, rest = _recolour(texture, rng), _reshape(rest, rng)
    rest[:, :2] -= (CANVAS - 1) / 2 * size_px
    moves = action_warp.build_moves(rest)
    if portrait.glasses:
        moves *= _hold_glasses(rest)[:, None]
    face, corner = _cut_out(texture, landmarks[:, :2], 0.1 * size_px)
    shades = action_warp.shade_creases(landmarks - np.array([*corner, 0], np.float32), face.shape[:2])
    source = action_warp.inset_lips(landmarks, 0.45 if portrait.smile else 0.0)
    return Puppet(
        texture=texture,
        source=_add_rings(source)[:, :2],
        rest=_add_rings(rest),
        moves=moves,
        shades=shades,
        face_corner=(int(corner[0]), int(corner[1])),
        triangles=_order_triangles(_add_rings(rest)),
        size_px=size_px,
        glasses=portrait.glasses,
    )


def _hold_glasses(landmarks: np.ndarray) -> np.ndarray:
    """Return the share (478,) of an action that each landmark of a face with glasses follows."""
    points = action_warp.fit_frame(landmarks).to_face(landmarks[:, :2])
    x, y = np.abs(points[:, 0]), points[:, 1]
    behind = [(y + 0.36) / 0.12, (0.62 - y) / 0.15, (1.3 - x) / 0.12]
    return 1 - 0.9 * np.prod([action_warp.smoothstep(edge) for edge in behind], axis=0)


def _crop(
    picture: np.ndarray, landmarks: np.ndarray, height_px: float, canvas_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a square (canvas_px, canvas_px, 3) float32 around a face scaled to that height; return its landmarks, too."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    scale = height_px / (high[1] - low[1])
    shift = canvas_px / 2 - scale * (low + high) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    size = (canvas_px, canvas_px)
    cut = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    moved = landmarks * np.float32(scale)
    moved[:, :2] += shift
    return cut.astype(np.float32), moved.astype(np.float32)


def _recolour(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change skin tone and light by a gamma and a gain per colour."""
    gamma = rng.uniform(0.8, 1.45)
    gains = rng.uniform(0.92, 1.06, 3) * np.array([1.0, 0.99, 0.96])
    return np.clip((texture / 255) ** gamma * gains * 255, 0, 255).astype(np.float32)


def _reshape(landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the face's proportions a little: width, jaw, length and brows."""
    frame = action_warp.fit_frame(landmarks)
    points = frame.to_face(landmarks[:, :2])
    wide, jaw, tall, brow = rng.uniform(-1, 1, 4) * [0.06, 0.07, 0.06, 0.04]
    x, y = points.T
    shift_x = x * (wide + jaw * action_warp.smoothstep(y / 1.5))
    shift_y = y * tall - brow * np.exp(-8 * (y + 0.4) ** 2)
    changed = landmarks.copy()
    changed[:, :2] += frame.to_pixels(np.stack([shift_x, shift_y], axis=1))
    return changed


def _add_rings(landmarks: np.ndarray) -> np.ndarray:
    """Return landmarks (478, 3) followed by `RINGS` around the face's oval: (478 + 36 * len(RINGS), 3)."""
    oval = landmarks[list(action_warp.OVAL)]
    centre = oval.mean(0)
    rings = [np.c_[centre[:2] + size * (oval - centre)[:, :2], oval[:, 2]] for size in RINGS]
    return np.concatenate([landmarks, *rings]).astype(np.float32)


def _order_triangles(vertices: np.ndarray) -> np.ndarray:
    """Return all triangles (m, 3): rings from the border inwards, then the face from far to near."""
    around = len(action_warp.OVAL)
    starts = range(action_warp.N_LANDMARKS, len(vertices), around)
    chains = [list(action_warp.OVAL), *[list(range(start, start + around)) for start in starts]]
    loops = [[*chain, chain[0]] for chain in chains]
    strips = [fill_strip(inner, outer) for inner, outer in zip(loops[:-1], loops[1:], strict=True)]
    face = load_triangles()
    depth = vertices[face, 2].mean(1)
    return np.concatenate([*strips[::-1], face[np.argsort(-depth, kind="stable")]])


def load_triangles() -> np.ndarray:
    """Return the triangles (n, 3) of mediapipe's face mesh, with eyes and mouth filled in."""
    contours = [lids for lids, _ in action_warp.EYES] + [(action_warp.INNER_UPPER, action_warp.INNER_LOWER)]
    holes = [fill_strip(*contour) for contour in contours]
    return np.concatenate([*holes, face_triangles()])


def fill_strip(first: Sequence[int], second: Sequence[int]) -> np.ndarray:
    """Return the triangles (n, 3) between two chains of equal length; a shared end makes no triangle."""
    quads = zip(first[:-1], first[1:], second[1:], second[:-1], strict=True)
    pairs = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))]
    return np.array([triangle for triangle in pairs if len(set(triangle)) == 3])


def map_triangles(
    source: np.ndarray, target: np.ndarray, triangles: np.ndarray, size_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the source x and y of each pixel of a square picture for ``cv2.remap``, (size_px, size_px) float32 each.

    Vertices move from ``source`` (n, 2) to ``target`` (n, 2); the map is affine inside each of the triangles (m, 3).
    Later triangles hide earlier ones; triangles that turned over are left out.
    """
    before, after = source[triangles].astype(np.float64), target[triangles].astype(np.float64)
    was, now = before[:, 1:] - before[:, :1], after[:, 1:] - after[:, :1]
    kept = np.flatnonzero(np.sign(np.linalg.det(was)) * np.linalg.det(now) > 0.05)
    linear = np.linalg.solve(now[kept], was[kept])
    offset = before[kept, :1] - after[kept, :1] @ linear
    affine = np.concatenate([linear, offset], axis=1).astype(np.float32).reshape(-1, 6)
    index = np.zeros((size_px, size_px), np.int32)
    for row, corners in enumerate(np.round(after[kept] * 16).astype(np.int32)):
        cv2.fillConvexPoly(index, corners, row, cv2.LINE_8, 4)
    x, y = np.meshgrid(*[np.arange(size_px, dtype=np.float32)] * 2)
    xx, xy, yx, yy, x0, y0 = (column[index] for column in affine.T)
    return x * xx + y * yx + x0, x * xy + y * yy + y0


def render_face(puppet: Puppet, intensities: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Render one frame (size_px, size_px, 3) float32 RGB, without light and grain."""
    rest, size = puppet.rest, puppet.size_px
    acted = action_warp.apply_actions(rest[: action_warp.N_LANDMARKS], puppet.moves, intensities)
    vertices = _carry_rings(rest, acted)
    moved, still = (turn_head(points, rest, pose, size) for points in (vertices, rest))
    skin = _crease_skin(puppet, intensities)
    source = action_warp.slide_lids(puppet.source, rest, vertices)
    x, y = map_triangles(source, moved, puppet.triangles, size)
    picture = cv2.remap(skin, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT).astype(np.float32)
    _show_eyes(picture, puppet, moved, still)
    _show_mouth(picture, moved, still)
    return picture


def _crease_skin(puppet: Puppet, intensities: np.ndarray) -> np.ndarray:
    """Return the texture with the furrows of the active action units."""
    skin = puppet.texture.astype(np.uint8)
    shade = np.zeros(puppet.shades.shape[1:], np.float32)
    for row in np.flatnonzero(intensities > 0.01):
        shade += intensities[row] * puppet.shades[row]
    (x, y), (height, width) = puppet.face_corner, puppet.shades.shape[1:]
    face = puppet.texture[y : y + height, x : x + width]
    skin[y : y + height, x : x + width] = np.clip(face * (1 + shade[..., None] * CREASE_TINT), 0, 255)
    return skin


def _carry_rings(rest: np.ndarray, acted: np.ndarray) -> np.ndarray:
    """Return all vertices; the rings follow the oval's actions by their share."""
    oval = list(action_warp.OVAL)
    shift = acted[oval] - rest[oval]
    shares = [action for _, action in RINGS.values()]
    rings = rest[action_warp.N_LANDMARKS :] + np.concatenate([share * shift for share in shares])
    return np.concatenate([acted, rings])


def turn_head(vertices: np.ndarray, rest: np.ndarray, pose: np.ndarray, size_px: int) -> np.ndarray:
    """Return the positions (n, 2) of vertices (n, 3) in the frame, with the head turned about the neck and shifted."""
    pitch, yaw, roll, shift_x, shift_y, zoom = (float(value) for value in pose)
    unit_px = action_warp.fit_frame(rest).unit_px
    pivot = rest[: action_warp.N_LANDMARKS].mean(0) + np.array([0, 0.5, 0.9], np.float32) * unit_px
    rotation = cv2.Rodrigues(np.array([pitch, yaw, 0.0]))[0]
    turned = (vertices - pivot) @ rotation.T[:, :2] + pivot[:2]
    cos, sin = np.cos(roll), np.sin(roll)
    turned = (turned - pivot[:2]) @ np.array([[cos, sin], [-sin, cos]]) + pivot[:2]
    shares = np.ones(len(vertices))
    shares[action_warp.N_LANDMARKS :] = np.repeat([head for head, _ in RINGS.values()], len(action_warp.OVAL))
    placed = vertices[:, :2] + shares[:, None] * (turned - vertices[:, :2])
    centre = size_px / 2
    shift_px = np.array([shift_x, shift_y]) * size_px
    return ((placed - centre) * (1 + zoom) + centre + shift_px).astype(np.float32)


def _cut_out(picture: np.ndarray, points: np.ndarray, margin_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a view of the picture around points (n, 2), and the x and y of its corner."""
    low = np.maximum(np.floor(points.min(0) - margin_px), 0).astype(int)
    high = np.ceil(points.max(0) + margin_px).astype(int)
    return picture[low[1] : high[1], low[0] : high[0]], low


def _soft_mask(part: np.ndarray, polygon: np.ndarray, blur_px: float) -> np.ndarray:
    """Return a mask (height, width, 1) float32, 0..1, of a polygon (n, 2) in a picture, with a soft edge."""
    mask = np.zeros(part.shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], 1.0, cv2.LINE_8, 4)
    return cv2.GaussianBlur(mask, (0, 0), blur_px)[..., None]


def _soft_line(part: np.ndarray, points: np.ndarray, blur_px: float) -> np.ndarray:
    """Return a soft line (height, width, 1) float32, 0..1, through points (n, 2) in a picture."""
    line = np.zeros(part.shape[:2], np.float32)
    cv2.polylines(line, [np.round(points * 16).astype(np.int32)], False, 1.0, 1, cv2.LINE_8, 4)
    soft = cv2.GaussianBlur(line, (0, 0), blur_px)[..., None]
    return soft / max(float(soft.max()), 1e-6)


def _show_eyes(picture: np.ndarray, puppet: Puppet, moved: np.ndarray, still: np.ndarray) -> None:
    """Put the eyeballs, which no action unit moves, behind the lids, and lashes on closing lids, in place.

    ``moved`` and ``still`` are vertices (n, 2) in frame pixels, with and without action units.
    """
    unit_px = action_warp.fit_frame(moved).unit_px
    for lids, _ in action_warp.EYES:
        upper, contour = list(lids[0]), [*lids[0], *lids[1][-2:0:-1]]
        part, corner = _cut_out(picture, np.concatenate([moved[contour], still[contour]]), 0.15 * unit_px)
        ones = np.ones((len(contour), 1))
        matrix = np.linalg.lstsq(np.hstack([still[contour] - corner, ones]), puppet.source[contour], rcond=None)[0]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        eye = cv2.warpAffine(puppet.texture, matrix.T, part.shape[1::-1], flags=flags)
        closed = action_warp.measure_closure(lids, still, moved)
        mask = min(1.0, 8 * (1 - closed)) * _soft_mask(part, moved[contour] - corner, 0.7)
        part += mask * (eye - part)
        if closed > 0.4:
            lid = np.concatenate([still[upper], moved[upper[::-1]]]) - corner
            shut = min(1.0, 2.5 * (closed - 0.4))
            _smooth_lid(part, lid, shut, unit_px)
            lashes = _soft_line(part, moved[upper] - corner, 0.013 * unit_px)
            part *= 1 - 0.55 * shut * lashes * (1 + CREASE_TINT) / 2


def _smooth_lid(part: np.ndarray, lid: np.ndarray, shut: float, unit_px: float) -> None:
    """Blur the skin of a closing lid (a polygon (n, 2)), in place, since it was stretched from a few pixels."""
    smooth = cv2.GaussianBlur(part, (0, 0), sigmaX=0.09 * unit_px, sigmaY=0.02 * unit_px)
    part += shut * _soft_mask(part, lid, 1.2) * (smooth - part)


def _show_mouth(picture: np.ndarray, moved: np.ndarray, still: np.ndarray) -> None:
    """Paint the inside of the mouth between the lips, in place: dark, with the upper teeth fixed to the skull."""
    upper, lower = list(action_warp.INNER_UPPER), list(action_warp.INNER_LOWER)
    unit_px = action_warp.fit_frame(moved).unit_px
    part, corner = _cut_out(picture, moved[upper + lower], 0.08 * unit_px)
    top, bottom = moved[upper] - corner, moved[lower] - corner
    line = (still[upper] + still[lower]) / 2 - corner
    opening = float((bottom[:, 1] - top[:, 1]).max()) / unit_px
    across = (np.arange(part.shape[1], dtype=np.float32) - line[5, 0]) / (line[-1, 0] - line[0, 0])
    gum, edge = line - [0, 0.2 * unit_px], line + [0, 0.03 * unit_px]
    teeth = _soft_mask(part, np.concatenate([gum, edge[::-1]]), 0.02 * unit_px)
    teeth *= np.clip(1 - 2.6 * across**2, 0, 1)[:, None] * np.clip((opening - 0.02) / 0.04, 0, 0.92)
    dark, enamel = np.array([[74, 30, 25], [240, 222, 196]], np.float32)
    mask = min(1.0, opening / 0.04) * _soft_mask(part, np.concatenate([top, bottom[::-1]]), 0.012 * unit_px)
    part += mask * (dark + teeth * (enamel - dark) - part)
    seam = _soft_line(part, (top + bottom) / 2, 0.016 * unit_px)
    part *= 1 - 0.5 * max(0.0, 1 - opening / 0.05) * seam * CREASE_TINT
