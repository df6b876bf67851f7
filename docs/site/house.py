"""Reads the rooms of the house from the code, and draws them: ``python docs/site/house.py docs/images/house.svg``.

A room is a folder with a door, its ``__init__.py``: ``schemas``, ``api`` (the package ``tclr`` itself), ``cli``, each
folder of ``pipeline`` and, in ``views`` and ``tools``, each folder of theirs. The test of the architecture,
``tests/integration/test_architecture.py``, checks the same rooms and arrows.
"""

from __future__ import annotations

import ast
import html
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HALLS = ("views", "tools")
"""Folders of ``pipeline`` whose folders are rooms of their own."""
PATH = ("sources", "video", "faces", "tracking", "store", "tuples", "encoder", "au", "features")
"""The path of the data: source -> frames -> track and crops -> store -> tuples -> encoder -> features."""
WIDTH_PX, FLOOR_PX, ROOM_PX, GAP_PX, EDGE_PX = 1000, 106, 72, 14, 16
LETTERS_PER_PX = 1 / 6.1
SWEEPS = 8
STYLE = """
text { font: 11px system-ui, sans-serif; fill: #5d6b73 }
.name { font-size: 14px; font-weight: 600; fill: #1d2b33 }
.floor { fill: #8a8f94 } .step { font-weight: 600; fill: #fff; text-anchor: middle }
.room { fill: #fff; stroke: #1f7a8c; stroke-width: 1.5 } .beside { stroke: #8a8f94 }
.band { fill: #f2f6f7 } .badge { fill: #1f7a8c } path { fill: none; stroke: #9db4bb; stroke-width: 1.2 }
"""


@dataclass(frozen=True)
class Import:
    """One imported name of ours: where it stands, the module that it comes from, and the name."""

    path: Path
    line: int
    module: str
    name: str


def list_modules(root: Path = ROOT) -> list[Path]:
    """Return every Python file of the four packages, sorted."""
    return sorted(path for package in ("schemas", "pipeline", "api", "cli") for path in (root / package).rglob("*.py"))


def room_of(module: str) -> str:
    """Return the room of a module: ``views.report`` for ``tclr.pipeline.views.report.page``, ``api`` for ``tclr``."""
    parts = module.split(".")[1:]
    if parts[:1] != ["pipeline"]:
        return parts[0] if parts[:1] in (["schemas"], ["cli"]) else "api"
    return ".".join(parts[1 : 3 if parts[1:2] and parts[1] in HALLS else 2])


def door_of(room: str) -> str:
    """Return the module that a room is imported by."""
    if room == "api":
        return "tclr"
    return f"tclr.{room}" if room in ("schemas", "cli") else f"tclr.pipeline.{room}"


def folder_of(room: str) -> Path:
    """Return the folder of a room."""
    return ROOT / ("" if room in ("schemas", "api", "cli") else "pipeline") / room.replace(".", "/")


def module_of(path: Path, root: Path = ROOT) -> str:
    """Return the name under which a file is imported; ``api/`` is the package ``tclr`` itself."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(("tclr", *parts[parts[0] == "api" :])).removesuffix(".__init__")


def read_imports(path: Path) -> Iterator[Import]:
    """Yield what a file imports of tclr, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "tclr":
                    yield Import(path, node.lineno, alias.name, "")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tclr":
            for alias in node.names:
                yield Import(path, node.lineno, str(node.module), alias.name)


def read_arrows(root: Path = ROOT) -> dict[str, set[str]]:
    """Return by room the rooms that it imports."""
    arrows: dict[str, set[str]] = {}
    for path in list_modules(root):
        room = room_of(module_of(path, root))
        if room and room not in HALLS:
            arrows.setdefault(room, set()).update(room_of(item.module) for item in read_imports(path))
    return {room: targets - {room, ""} for room, targets in arrows.items()}


def find_floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room: one above the highest room that it imports.

    Raises
    ------
    ValueError
        If rooms import each other in a circle.
    """
    floors: dict[str, int] = {}
    while len(floors) < len(arrows):
        settled = {room for room, below in arrows.items() if room not in floors and below <= floors.keys()}
        if not settled:
            raise ValueError(f"a circle of rooms: {', '.join(sorted(arrows.keys() - floors.keys()))}")
        floors |= {room: max((floors[other] + 1 for other in arrows[room]), default=0) for room in settled}
    return floors


def merge_halls(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows with the rooms of a hall taken as one."""
    merged: dict[str, set[str]] = {}
    for room, below in arrows.items():
        hall = room.partition(".")[0]
        merged.setdefault(hall, set()).update(other.partition(".")[0] for other in below)
    return {room: below - {room} for room, below in merged.items()}


def _reduced(arrows: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the arrows that follow from no others."""

    def reach(room: str) -> set[str]:
        return arrows[room].union(*(reach(other) for other in arrows[room]))

    return [
        (room, other)
        for room, below in sorted(arrows.items())
        for other in sorted(below)
        if not any(other in reach(between) for between in below - {other})
    ]


def read_purpose(room: str) -> str:
    """Return the first sentence of a room's door."""
    text = ast.get_docstring(ast.parse((folder_of(room) / "__init__.py").read_text())) or ""
    return " ".join(re.split(r"\.(?:\s|$)", text.replace("``", ""), maxsplit=1)[0].split())


def _order(floors: dict[str, int], lines: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return the rooms of each floor from left to right, so that few lines cross: near the mean of their neighbours."""
    order = [sorted(room for room in floors if floors[room] == floor) for floor in range(max(floors.values()) + 1)]
    for _ in range(SWEEPS):
        place = {room: (i + 1) / (len(rooms) + 1) for rooms in order for i, room in enumerate(rooms)}
        for rooms in order:
            near = {room: [place[b if a == room else a] for a, b in lines if room in (a, b)] for room in rooms}
            means = {room: sum(places) / max(len(places), 1) for room, places in near.items()}
            rooms.sort(key=means.__getitem__)
    return order


def _draw_room(room: str, x: float, y: float, width: float) -> str:
    kind = "room" if room in PATH else "room beside"
    parts = [f'<rect class="{kind}" x="{x:.0f}" y="{y}" width="{width:.0f}" height="{ROOM_PX}" rx="8"/>']
    parts.append(f'<text class="name" x="{x + 10:.0f}" y="{y + 22}">{room}/</text>')
    if room in PATH:
        centre = x + width - 16
        parts.append(f'<circle class="badge" cx="{centre:.0f}" cy="{y + 16}" r="9"/>')
        parts.append(
            f'<text class="step" text-anchor="middle" x="{centre:.0f}" y="{y + 20}">{PATH.index(room) + 1}</text>'
        )
    for number, line in enumerate(textwrap.wrap(read_purpose(room), int((width - 18) * LETTERS_PER_PX))[:3]):
        parts.append(f'<text x="{x + 10:.0f}" y="{y + 38 + 13 * number}">{html.escape(line)}</text>')
    return "\n".join(parts)


def draw() -> str:
    """Return the picture as SVG: floors from top to bottom, and the imports that follow from no others."""
    arrows = merge_halls(read_arrows())
    lines = _reduced(arrows)
    order = _order(find_floors(arrows), lines)
    place: dict[str, tuple[float, float, float]] = {}
    parts = ['<rect width="100%" height="100%" fill="#fff"/>']
    for floor, rooms in enumerate(order):
        top = EDGE_PX + (len(order) - 1 - floor) * FLOOR_PX
        width = min((WIDTH_PX - 3 * EDGE_PX - GAP_PX * (len(rooms) - 1)) / len(rooms), 300)
        left = (WIDTH_PX - width * len(rooms) - GAP_PX * (len(rooms) - 1)) / 2
        parts.append(f'<rect class="band" x="0" y="{top - 8}" width="{WIDTH_PX}" height="{ROOM_PX + 16}" rx="6"/>')
        parts.append(f'<text class="floor" x="5" y="{top + 4}">{floor}</text>')
        place |= {room: (left + number * (width + GAP_PX), top, width) for number, room in enumerate(rooms)}
    for room, other in lines:
        (x, y, width), (to_x, to_y, to_width) = place[room], place[other]
        x, to_x, y = x + width / 2, to_x + to_width / 2, y + ROOM_PX
        middle = (y + to_y) / 2
        parts.append(f'<path d="M{x:.0f},{y} C{x:.0f},{middle:.0f} {to_x:.0f},{middle:.0f} {to_x:.0f},{to_y}"/>')
    parts += [_draw_room(room, *where) for room, where in place.items()]
    height = 2 * EDGE_PX + (len(order) - 1) * FLOOR_PX + ROOM_PX
    size = f'viewBox="0 0 {WIDTH_PX} {height}" width="{WIDTH_PX}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw())
