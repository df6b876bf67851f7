"""The house keeps its shape: imports go one way, heavy packages stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {"schemas": {"schemas"}, "pipeline": {"schemas", "pipeline"}, "cli": {"schemas", "pipeline", "cli"}}
MODULES = sorted(path for room in ALLOWED for path in (ROOT / room).rglob("*.py"))


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[1] for name in imported_names(path) if name.startswith("tclr.")}
    assert ours <= ALLOWED[room]
    assert not any(name.split(".")[0] in ALLOWED for name in imported_names(path)), "import tclr.pipeline, not pipeline"


def test_modules_of_the_pipeline_import_without_a_cycle():
    graph = {}
    for path in MODULES:
        name = "tclr." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = {other for other in imported_names(path) if other.startswith("tclr.") and other != name}
    done: set[str] = set()

    def visit(name, above):
        assert name not in above, f"cycle: {' -> '.join([*above, name])}"
        if name in graph and name not in done:
            # a package's __init__ re-exports its own modules: that is no cycle
            for other in graph[name]:
                if not other.startswith(f"{name}."):
                    visit(other, [*above, name])
            done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("package", ["h5py", "mediapipe", "face_alignment"])
def test_only_one_room_imports(package):
    homes = {"h5py": "pipeline/store/"}
    homes |= {name: f"pipeline/faces/{name}" for name in ("mediapipe", "face_alignment")}
    users = [str(p.relative_to(ROOT)) for p in MODULES if package in {n.split(".")[0] for n in imported_names(p)}]
    assert users and all(user.startswith(homes[package]) for user in users)


@pytest.mark.parametrize("call", ["read_table(", "write_table(", "ParquetWriter("])
def test_only_one_module_writes_parquet(call):
    users = [str(path.relative_to(ROOT)) for path in MODULES if f"pq.{call}" in path.read_text()]
    assert set(users) <= {"pipeline/system/parquet.py"}


def test_only_one_module_encodes_video():
    users = [str(path.relative_to(ROOT)) for path in MODULES if "add_stream(" in path.read_text()]
    assert users == ["pipeline/video/writing.py"]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("tclr.pipeline.pretraining", {"mediapipe", "face_alignment", "dask", "distributed"}),
        ("tclr.pipeline.export", {"mediapipe", "face_alignment", "dask", "distributed"}),
        ("tclr.pipeline.au", {"mediapipe", "face_alignment", "dask", "distributed"}),
        ("tclr.pipeline.evaluation", {"mediapipe", "face_alignment", "dask", "distributed"}),
        ("tclr.pipeline.preprocessing", {"torch", "face_alignment"}),
        ("tclr.pipeline.tracking", {"torch", "face_alignment"}),
        ("tclr.pipeline.views.overlay", {"torch", "mediapipe", "face_alignment", "dask", "distributed"}),
        ("tclr.pipeline.faces.mediapipe", {"torch", "face_alignment"}),
        ("tclr.cli.main", {"torch", "mediapipe", "pandas", "h5py", "cv2", "numpy"}),
    ],
)
def test_importing_a_module_leaves_heavy_packages_alone(module, unwanted):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert unwanted.isdisjoint(loaded)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_never_prints_or_exits(path):
    room = path.relative_to(ROOT).parts[0]
    calls = {
        n.func.id
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }  # noqa: E501
    assert room == "cli" or calls.isdisjoint({"print", "exit"})
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text())))
