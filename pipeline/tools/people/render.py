"""Draws layers of triangles with a photograph as skin, off-screen, by OpenGL (moderngl with EGL).

Mesa's software renderer serves: no GPU is needed. Layers are drawn in passes; each pass covers the ones before
it, as skin covers teeth. Light changes the photograph by the ratio of the new light on a surface to the frontal light
that the portrait was taken in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from tclr.pipeline.tools.people.head import Camera, find_normals
from tclr.schemas.errors import SettingError

SUPERSAMPLING = 2
NEAR_CM, FAR_CM = 5.0, 1000.0
N_FURROWS = 8

VERTEX_SHADER = """
#version 330
uniform mat4 projection;
in vec3 position; in vec3 normal; in vec3 rest_normal; in vec2 uv; in float side; in float opacity;
out vec3 n; out vec3 n0; out vec2 at; out float left; out float solid;
void main() {
    gl_Position = projection * vec4(position, 1.0);
    n = normal; n0 = rest_normal; at = uv; left = side; solid = opacity;
}
"""
FRAGMENT_SHADER = """
#version 330
uniform sampler2D skin; uniform sampler2D furrows_a; uniform sampler2D furrows_b;
uniform vec4 box; uniform vec4 deep_a[2]; uniform vec4 deep_b[2];
uniform vec3 to_light; uniform vec3 ambient; uniform vec3 diffuse;
uniform vec4 plain; uniform float relit; uniform float cut;
in vec3 n; in vec3 n0; in vec2 at; in float left; in float solid;
out vec4 colour;
float facing(vec3 m, vec3 l) { return max((dot(normalize(m), normalize(l)) + 0.25) / 1.25, 0.0); }
void main() {
    vec4 texel = plain.a > 0.0 ? vec4(plain.rgb * at.x, plain.a) : texture(skin, at);
    if (texel.a < cut) discard;
    vec3 light = ambient * (0.8 + 0.2 * normalize(n).y) + diffuse * facing(n, to_light);
    vec3 taken = vec3(0.60 + 0.40 * facing(n0, vec3(0.0, 0.35, 1.0)));
    vec3 ratio = clamp(light / mix(vec3(1.0), taken, relit), 0.12, 2.6);
    if (plain.a <= 0.0) {
        vec2 place = (at - box.xy) / (box.zw - box.xy);
        vec4 a = (texture(furrows_a, place) * 255.0 - 128.0) / 127.0;
        vec4 b = (texture(furrows_b, place) * 255.0 - 128.0) / 127.0;
        float depth = dot(a, mix(deep_a[1], deep_a[0], left)) + dot(b, mix(deep_b[1], deep_b[0], left));
        ratio *= max(1.0 + depth, 0.25);
    }
    float share = solid * (plain.a > 0.0 ? plain.a : smoothstep(cut, min(cut + 0.4, 1.0), texel.a));
    colour = vec4(pow(pow(texel.rgb, vec3(2.2)) * ratio, vec3(1.0 / 2.2)), 1.0) * share;
}
"""


@dataclass
class Layer:
    """Triangles to draw. Positions and normals are in camera coordinates."""

    positions: np.ndarray
    """(V, 3) float32, centimetres."""
    triangles: np.ndarray
    """(F, 3) int32, anticlockwise from outside; the other side is not drawn."""
    uv: np.ndarray
    """(V, 2) float32: place in the texture; of a plain layer the share of its colour that is seen, and nothing."""
    texture: str = ""
    """The name it was given in ``Renderer.load``."""
    plain: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Red, green, blue and opacity, 0..1, of a layer without a texture."""
    rest_normals: np.ndarray | None = None
    """(V, 3): normals in the light of the photograph; without them the colours count as lit evenly."""
    side: np.ndarray | None = None
    """(V,): 1 on the subject's left, 0 on the right, for furrows."""
    opacity: np.ndarray | None = None
    """(V,): 0..1, all of it without."""
    two_sided: bool = False
    cut: float = 0.3
    """Opacity of the texture below which nothing is drawn."""


@dataclass(frozen=True)
class Light:
    """The light on a scene, in linear shares of the photograph's own."""

    direction: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.35, 1.0]))
    """(3,): towards the light, camera coordinates."""
    ambient: np.ndarray = field(default_factory=lambda: np.full(3, 0.6))
    diffuse: np.ndarray = field(default_factory=lambda: np.full(3, 0.4))


def projection_matrix(camera: Camera, size_px: tuple[int, int]) -> np.ndarray:
    """Return OpenGL's matrix (4, 4) of a camera for a picture of width and height ``size_px``."""
    width, height = size_px
    (cx, cy), f, distance = camera.centre_px, camera.focal_px, camera.distance_cm
    a, b = (FAR_CM + NEAR_CM) / (FAR_CM - NEAR_CM), -2 * FAR_CM * NEAR_CM / (FAR_CM - NEAR_CM)
    x, y = 2 * cx / width - 1, 1 - 2 * cy / height
    return np.array(
        [
            [2 * f / width, 0, -x, x * distance],
            [0, 2 * f / height, -y, y * distance],
            [0, 0, -a, a * distance + b],
            [0, 0, -1, distance],
        ],
        np.float32,
    )


def open_context() -> Any:
    """Open an OpenGL context without a window.

    Raises
    ------
    SettingError
        If moderngl or EGL is missing.
    """
    try:
        import moderngl
    except ImportError as error:
        raise SettingError(
            "Expected moderngl, which draws people, but it is missing: pip install 'tclr-face[people]'"
        ) from error
    try:
        settings: dict[str, Any] = {"backend": "egl"}
        return moderngl.create_context(standalone=True, **settings)
    except Exception as error:  # glcontext raises plain exceptions
        raise SettingError(
            f"Cannot draw without a window: {error}. Install EGL with a software renderer: apt-get install libegl1 "
            "libgl1 libgl1-mesa-dri"
        ) from error


class Renderer:
    """Draws layers into pictures of one size."""

    def __init__(self, width: int, height: int) -> None:
        self.size_px = (width, height)
        self._context = open_context()
        self._program = self._context.program(vertex_shader=VERTEX_SHADER, fragment_shader=FRAGMENT_SHADER)
        large = (width * SUPERSAMPLING, height * SUPERSAMPLING)
        self._colour, depth = self._context.texture(large, 4), self._context.depth_renderbuffer(large)
        self._target = self._context.framebuffer([self._colour], depth)
        self._textures: dict[str, Any] = {}
        for unit, name in enumerate(("skin", "furrows_a", "furrows_b")):
            self._program[name].value = unit
        self.load_furrows(np.zeros((N_FURROWS, 4, 4), np.float32), (0.0, 0.0, 1.0, 1.0))

    def load(self, name: str, picture: np.ndarray) -> None:
        """Load a texture (H, W, 3 or 4) uint8 under a name, in place of an earlier one."""
        if name in self._textures:
            self._textures.pop(name).release()
        height, width, channels = picture.shape
        texture = self._context.texture((width, height), channels, np.ascontiguousarray(picture).tobytes(), alignment=1)
        texture.build_mipmaps()
        texture.repeat_x = texture.repeat_y = False
        self._textures[name] = texture

    def load_furrows(self, maps: np.ndarray, box: tuple[float, float, float, float]) -> None:
        """Load the maps (8, S, S) of a person's furrows, from -1 to 1, and their box in the photograph."""
        coded = np.clip(np.rint(maps * 127 + 128), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        self.load("furrows_a", coded[..., :4])
        self.load("furrows_b", coded[..., 4:])
        self._program["box"].value = box

    def draw(
        self, passes: Sequence[Sequence[Layer]], camera: Camera, light: Light, depths: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the picture (height, width, 4) float32, 0..255, of layers before nothing, colours times opacity.

        ``depths`` (8, 2) says how deep the furrows are, by side.
        """
        self._target.use()
        self._target.clear(0.0, 0.0, 0.0, 0.0)
        self._prepare(camera, light, np.zeros((N_FURROWS, 2), np.float32) if depths is None else depths)
        for layers in passes:
            self._clear_depth()
            for layer in layers:
                self._draw_layer(layer)
        width, height = self.size_px
        raw = np.frombuffer(self._target.read(components=4, alignment=1), np.uint8)
        picture = raw.reshape(height * SUPERSAMPLING, width * SUPERSAMPLING, 4)[::-1]
        return cv2.resize(picture.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)

    def _clear_depth(self) -> None:
        """Forget what is in front, so that the next pass covers all that is drawn."""
        self._target.color_mask = (False, False, False, False)
        self._target.clear(depth=1.0)
        self._target.color_mask = (True, True, True, True)
        self._target.use()  # the mask holds from the next use

    def _prepare(self, camera: Camera, light: Light, depths: np.ndarray) -> None:
        program = self._program
        program["projection"].write(np.ascontiguousarray(projection_matrix(camera, self.size_px).T).tobytes())
        program["to_light"].value = tuple(map(float, light.direction))
        program["ambient"].value = tuple(map(float, light.ambient))
        program["diffuse"].value = tuple(map(float, light.diffuse))
        for name, rows in (("deep_a", depths[:4]), ("deep_b", depths[4:])):
            program[name].write(np.ascontiguousarray(rows.T.astype(np.float32)).tobytes())

    def _draw_layer(self, layer: Layer) -> None:
        import moderngl

        context = self._context
        context.enable(moderngl.DEPTH_TEST | moderngl.BLEND)
        context.blend_func = moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA
        (context.disable if layer.two_sided else context.enable)(moderngl.CULL_FACE)
        self._program["plain"].value = layer.plain
        self._program["relit"].value = float(layer.rest_normals is not None)
        self._program["cut"].value = layer.cut
        for unit, name in enumerate((layer.texture or "furrows_a", "furrows_a", "furrows_b")):
            self._textures[name].use(unit)
        rows = self._pack(layer)
        buffers = [
            context.buffer(rows.tobytes()),
            context.buffer(np.ascontiguousarray(layer.triangles, np.int32).tobytes()),
        ]
        layout = [(buffers[0], "3f 3f 3f 2f 1f 1f", "position", "normal", "rest_normal", "uv", "side", "opacity")]
        array = context.vertex_array(self._program, layout, buffers[1])
        array.render()
        for thing in (array, *buffers):
            thing.release()

    @staticmethod
    def _pack(layer: Layer) -> np.ndarray:
        normals = find_normals(layer.positions, layer.triangles)
        rest = normals if layer.rest_normals is None else layer.rest_normals
        side = np.full(len(normals), 0.5) if layer.side is None else layer.side
        opacity = np.ones(len(normals)) if layer.opacity is None else layer.opacity
        columns = [layer.positions, normals, rest, layer.uv, side[:, None], opacity[:, None]]
        return np.concatenate(columns, axis=1).astype(np.float32)
