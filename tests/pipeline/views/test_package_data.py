"""What a wheel contains, as setuptools plans it: every package, the files of the pages, and the doctor's clips."""

from pathlib import Path

from setuptools import Distribution

ROOT = Path(__file__).resolve().parents[3]


def test_wheel_has_every_package_and_its_data(monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = Distribution()
    plan.parse_config_files(["setup.cfg"])
    command = plan.get_command_obj("build_py")
    command.ensure_finalized()
    rooms = [path.parent for room in ("schemas", "pipeline", "cli") for path in (ROOT / room).rglob("__init__.py")]
    assert set(plan.packages) == {"tclr", *("tclr." + ".".join(room.relative_to(ROOT).parts) for room in rooms)}
    planned = {package: set(names) for package, _, _, names in command.data_files}
    assert planned["tclr"] == {"__init__.pyi"}  # without it the door is empty
    pages = (ROOT / "pipeline/views/pages").iterdir()
    assert planned["tclr.pipeline.views.pages"] == {path.name for path in pages if path.suffix not in (".py", "")}
    clips = (ROOT / "pipeline/tools/doctor/clips").iterdir()
    assert planned["tclr.pipeline.tools.doctor"] == {f"clips/{path.name}" for path in clips}
