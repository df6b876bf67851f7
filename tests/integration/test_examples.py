"""Every public entry of a room has an example in its docstring, and every example does what it says.

Examples run in a folder with what they name: ``clips/`` (demo clips in BP4D's layout), ``store/``, ``features/``,
``encoder.safetensors`` and ``head.safetensors``. The names of their room, ``np`` and ``Path`` are imported.
"""

import dataclasses
import doctest
import importlib
import inspect
import sys
import tarfile
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from tclr.pipeline.tools.synth import write_demo

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "docs/site"))

import house  # noqa: E402

PLUMBING = {"cli", "schemas", "system", "views.pages", "api"}
"""Rooms without entries for users: the command line has its help, the others serve rooms. ``tests/api`` runs those of
``api``."""
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def entries(room):
    """Yield the name and object of each function of a room's door, and of each class that does something."""
    door = importlib.import_module(house.door_of(room))
    for name in door.__all__:
        thing = getattr(door, name)
        is_class = inspect.isclass(thing) and not dataclasses.is_dataclass(thing) and Protocol not in thing.__bases__
        if inspect.isfunction(thing) or is_class:
            yield name, thing


ROOMS = sorted(set(house.read_arrows()) - PLUMBING)
ENTRIES = [(room, name, thing) for room in ROOMS for name, thing in entries(room)]


@pytest.fixture(scope="module")
def example_folder(tmp_path_factory):
    """The folder that examples run in."""
    folder = tmp_path_factory.mktemp("examples")
    with tarfile.open(ROOT / "tests/data/v0_1_0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    for path in (folder / "v0_1_0").iterdir():
        path.rename(folder / path.name)
    write_demo(folder / "clips", subjects=2, tasks=1, frames=16)
    return folder


@pytest.mark.parametrize(("room", "name", "thing"), ENTRIES, ids=[f"{room}.{name}" for room, name, _ in ENTRIES])
def test_example_does_what_it_says(room, name, thing, example_folder, monkeypatch):
    monkeypatch.chdir(example_folder)
    door = importlib.import_module(house.door_of(room))
    names = {other: getattr(door, other) for other in door.__all__} | {"np": np, "Path": Path}
    found = doctest.DocTestFinder(recurse=False).find(thing, name, globs=names)
    assert found and found[0].examples, f"{room}.{name} has no example"
    written: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    failed = runner.run(found[0], out=written.append).failed
    assert not failed, "".join(written)
