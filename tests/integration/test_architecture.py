"""The house keeps its shape: rooms on floors, imports that go down through doors, heavy packages where they belong."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "docs/site"))

import house  # noqa: E402

MODULES = house.list_modules()
FLOORS = [
    {"schemas", "geometry"},
    {"system"},
    {"sources", "store", "features", "faces", "encoder"},
    {"video", "tuples", "au"},
    {"tracking", "export", "pretraining", "views"},
    {"preprocessing", "evaluation"},
    {"tools", "api"},
    {"cli"},
]
"""From the ground up. A room imports rooms of lower floors, all of them or some."""
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
LARGEST_ROOM = 13
"""Modules of a folder, ``__init__`` included."""
HEAVY = {"torch", "mediapipe", "face_alignment", "dask", "distributed"}
LIGHT = {
    "system": HEAVY | {"numpy", "pyarrow", "psutil"},
    "sources": HEAVY | {"h5py", "cv2", "av"},
    "store": HEAVY,
    "features": HEAVY | {"h5py", "cv2"},
    "faces": HEAVY,
    "geometry": HEAVY | {"scipy", "pandas", "pyarrow", "h5py", "cv2"},
    "video": HEAVY,
    "tracking": HEAVY,
    "views.report": HEAVY,
    "views.viewer": HEAVY,
    "views.overlay": HEAVY,
    "preprocessing": {"torch", "face_alignment", "mediapipe"},
    "encoder": HEAVY - {"torch"},
    "tuples": HEAVY - {"torch"},
    "au": HEAVY - {"torch"},
    "export": HEAVY - {"torch"},
    "pretraining": HEAVY - {"torch"},
    "evaluation": HEAVY - {"torch"},
    "views.progress": HEAVY | {"numpy"},
    "api": HEAVY | {"numpy", "pandas", "pyarrow", "matplotlib", "h5py", "cv2", "av", "scipy", "pydantic", "rich"},
    "tools.bench": HEAVY,
    "tools.doctor": HEAVY,
    "tools.people": HEAVY | {"moderngl"},
}
"""What importing a room must not bring."""
TO_THE_LAST = {"au", "features"}
"""Rooms that load modules late, for speed. What they must not bring, none of their names may bring either."""


def hall(room):
    return room.partition(".")[0]


def exported(room):
    """Names that a room's door has: what its ``__init__``, or the stub beside it, imports of its own or defines."""
    door = house.folder_of(room) / "__init__.py"
    stub = door.with_suffix(".pyi")
    names = set()
    for node in ast.parse((stub if stub.exists() else door).read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("tclr.")):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


def wrong_imports(path, root=ROOT):
    """Say what is wrong with each import of ours in a file: the arrows that the house does not have."""
    home = house.room_of(house.module_of(path, root))
    for item in house.read_imports(path):
        room, where = house.room_of(item.module), f"{path.name}:{item.line}: {item.module} {item.name}"
        if room == home:
            continue
        if hall(room) not in FLOOR_OF:
            yield f"{where}: no room"
        elif hall(room) != hall(home) and FLOOR_OF[hall(room)] >= FLOOR_OF.get(hall(home), -1):
            yield f"{where}: an arrow that does not go down"
        elif room not in ("schemas", "cli") and item.module != house.door_of(room):
            yield f"{where}: past the door of {room}"
        elif room not in ("schemas", "cli") and item.name not in exported(room):
            yield f"{where}: {room} exports no such name"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_and_through_doors(path):
    assert not list(wrong_imports(path))
    imported = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
    assert not any((name or "").split(".")[0] in ("schemas", "pipeline", "cli") for name in imported)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("from tclr.pipeline.preprocessing import preprocess", "does not go down"),
        ("from tclr.pipeline.export import embed", "does not go down"),
        ("import tclr.cli.main", "does not go down"),
        ("from tclr.pipeline.faces.face import Face", "past the door of faces"),
        ("from tclr.pipeline.faces import mediapipe", "exports no such name"),
        ("from tclr.pipeline.attic import ghosts", "no room"),
        ("from tclr import analyse", "does not go down"),
        ("from tclr.analysis import analyse", "does not go down"),
        ("def f():\n    from tclr.pipeline.pretraining import Trainer", "does not go down"),
    ],
)
def test_a_wrong_arrow_is_found(tmp_path, line, reason):
    path = tmp_path / "pipeline" / "tracking" / "wrong.py"
    path.parent.mkdir(parents=True)
    path.write_text(line)
    (found,) = wrong_imports(path, tmp_path)
    assert reason in found


def test_floors_are_those_of_the_code():
    floors = house.find_floors(house.merge_halls(house.read_arrows()))
    assert [{room for room in floors if floors[room] == floor} for floor in range(len(FLOORS))] == FLOORS
    house.find_floors(house.read_arrows())  # the rooms of a hall go round in no circle either


def test_the_picture_of_the_house_is_that_of_the_code():
    assert (ROOT / "docs/images/house.svg").read_text() == house.draw(), "run 'make house'"


def test_no_folder_is_crowded():
    folders = {path.parent for path in MODULES}
    crowded = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: count for folder, count in crowded.items() if count > LARGEST_ROOM} == {}


def test_modules_import_without_a_cycle():
    graph = {house.module_of(path): {item.module for item in house.read_imports(path)} for path in MODULES}
    done: set[str] = set()

    def visit(name, above):
        assert name not in above, f"cycle: {' -> '.join([*above, name])}"
        if name in graph and name not in done:
            for other in graph[name] - {name}:
                if not other.startswith(f"{name}."):  # a door opens on the modules of its room: that is no cycle
                    visit(other, [*above, name])
            done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("room", sorted(room for room in house.read_arrows() if room not in ("cli", "schemas")))
def test_a_door_states_its_contract_and_exports_what_it_lists(room):
    door = importlib.import_module(house.door_of(room))
    assert len(door.__doc__.split()) > 10
    assert set(door.__all__) == exported(room)
    assert all(hasattr(door, name) for name in door.__all__)


@pytest.mark.parametrize(("room", "unwanted"), LIGHT.items())
def test_importing_a_room_leaves_heavy_packages_alone(room, unwanted):
    names = "dir(door)" if room in TO_THE_LAST else "()"
    code = f"import sys, {house.door_of(room)} as door; [getattr(door, name) for name in {names}]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert unwanted.isdisjoint(loaded)


def test_the_command_line_starts_light():
    code = "import sys, tclr.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert (HEAVY | {"pandas", "h5py", "cv2", "numpy", "pyarrow"}).isdisjoint(loaded)


def packages_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize(
    ("package", "home"),
    [
        ("h5py", "pipeline/store/"),
        ("distributed", ("pipeline/system/cluster.py", "pipeline/tools/bench/", "pipeline/tools/doctor/")),
        ("mediapipe", "pipeline/faces/mediapipe"),
        ("face_alignment", "pipeline/faces/face_alignment"),
    ],
)
def test_only_one_place_imports(package, home):
    users = [str(path.relative_to(ROOT)) for path in MODULES if package in packages_of(path)]
    assert users and all(user.startswith(home) for user in users)


@pytest.mark.parametrize("call", ["read_table(", "write_table(", "ParquetWriter("])
def test_only_one_module_writes_parquet(call):
    users = [str(path.relative_to(ROOT)) for path in MODULES if f"pq.{call}" in path.read_text()]
    assert set(users) <= {"pipeline/system/parquet.py"}


def test_only_one_module_encodes_video():
    users = [str(path.relative_to(ROOT)) for path in MODULES if "add_stream(" in path.read_text()]
    assert users == ["pipeline/video/writing.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_never_prints_or_exits(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    calls = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert path.relative_to(ROOT).parts[0] == "cli" or calls.isdisjoint({"print", "exit"})
    assert not any(isinstance(node, ast.Assert) for node in nodes)
