"""Reads the rooms of the house from the code, and draws them: ``python docs/site/house.py docs/images/house.svg``.

A room is a folder with a door, its ``__init__.py``: ``schemas``, ``cli``, each folder of ``pipeline`` and, in ``views``
and ``tools``, each folder of theirs. ``tests/integration/test_architecture.py`` checks the same rooms and arrows.
"""

from __future__ import annotations

import ast
import html
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HALLS = ("views", "tools")
"""Folders of ``pipeline`` whose folders are rooms of their own."""
WIDTH_PX, FLOOR_PX, ROOM_PX, GAP_PX, EDGE_PX = 1000, 96, 58, 14, 16
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1d2b33 }
.name { font-weight: 600 } .size { font-size: 11px; fill: #5d6b73 } .floor { font-size: 11px; fill: #8a8f94 }
.room { fill: #fff; stroke: #1f7a8c; stroke-width: 1.5 } .beside { stroke: #8a8f94 }
.band { fill: #f2f6f7 } path { fill: none; stroke: #9db4bb; stroke-width: 1.2 }
"""


@dataclass(frozen=True)
class Import:
    """One imported name of ours: where it stands, the module that it comes from, and the name."""

    path: Path
    line: int
    module: str
    name: str


def list_modules(root: Path = ROOT) -> list[Path]:
    """Return every Python file of the three packages, sorted."""
    return sorted(path for package in ("schemas", "pipeline", "cli") for path in (root / package).rglob("*.py"))


def room_of(module: str) -> str:
    """Return the room of a module such as ``tclr.pipeline.views.report.page``: ``views.report``; of tclr alone ''."""
    parts = module.split(".")[1:]
    if parts[:1] != ["pipeline"]:
        return parts[0] if parts else ""
    return ".".join(parts[1 : 3 if parts[1:2] and parts[1] in HALLS else 2])


def door_of(room: str) -> str:
    """Return the module that a room is imported by."""
    return f"tclr.{room}" if room in ("schemas", "cli") else f"tclr.pipeline.{room}"


def module_of(path: Path, root: Path = ROOT) -> str:
    """Return the name under which a file is imported."""
    return "tclr." + ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


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


def _size(room: str) -> str:
    folder = ROOT / ("" if room in ("schemas", "cli") else "pipeline") / room
    files = list(folder.rglob("*.py"))
    return f"{len(files)} modules, {sum(len(path.read_text().splitlines()) for path in files):,} lines"


def draw() -> str:
    """Return the picture as SVG: floors from top to bottom, and the imports that follow from no others."""
    arrows = merge_halls(read_arrows())
    floors = find_floors(arrows)
    n_floors = max(floors.values()) + 1
    place: dict[str, tuple[float, float, float]] = {}
    parts = []
    for floor in range(n_floors):
        top = EDGE_PX + (n_floors - 1 - floor) * FLOOR_PX
        rooms = sorted(room for room in floors if floors[room] == floor)
        width = min((WIDTH_PX - 3 * EDGE_PX - GAP_PX * (len(rooms) - 1)) / len(rooms), 260)
        left = (WIDTH_PX - width * len(rooms) - GAP_PX * (len(rooms) - 1)) / 2
        parts.append(f'<rect class="band" x="0" y="{top - 8}" width="{WIDTH_PX}" height="{ROOM_PX + 16}" rx="6"/>')
        parts.append(f'<text class="floor" x="6" y="{top + 6}">{floor}</text>')
        for number, room in enumerate(rooms):
            place[room] = (left + number * (width + GAP_PX), top, width)
    for room, other in _reduced(arrows):
        (x, y, width), (to_x, to_y, to_width) = place[room], place[other]
        x, to_x, y = x + width / 2, to_x + to_width / 2, y + ROOM_PX
        middle = (y + to_y) / 2
        parts.append(f'<path d="M{x:.0f},{y} C{x:.0f},{middle:.0f} {to_x:.0f},{middle:.0f} {to_x:.0f},{to_y}"/>')
    for room, (x, y, width) in place.items():
        kind = "room" if room not in (*HALLS, "system", "schemas", "cli") else "room beside"
        parts.append(f'<rect class="{kind}" x="{x:.0f}" y="{y}" width="{width:.0f}" height="{ROOM_PX}" rx="8"/>')
        parts.append(f'<text class="name" x="{x + 10:.0f}" y="{y + 25}">{html.escape(room)}/</text>')
        parts.append(f'<text class="size" x="{x + 10:.0f}" y="{y + 44}">{html.escape(_size(room))}</text>')
    height = 2 * EDGE_PX + (n_floors - 1) * FLOOR_PX + ROOM_PX
    size = f'viewBox="0 0 {WIDTH_PX} {height}" width="{WIDTH_PX}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw())
