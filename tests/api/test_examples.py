"""Every public name of the door has an example that does what it says, and so has every example of docs/python.md."""

import doctest
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import tclr
from tclr import plot, settings

ROOT = Path(__file__).resolve().parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ENTRIES = {f"tclr.{name}": getattr(tclr, name) for name in tclr.__all__ if callable(getattr(tclr, name))}
ENTRIES |= {f"tclr.plot.{name}": getattr(plot, name) for name in plot.__all__}


def run(test, made):
    written: list[str] = []
    assert test.examples
    failed = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=written.append).failed
    assert not failed, "".join(written)


@pytest.mark.parametrize("name", ENTRIES)
def test_example_does_what_it_says(name, made, monkeypatch):
    monkeypatch.chdir(made)
    names = {one: getattr(tclr, one) for one in tclr.__all__} | {one: getattr(plot, one) for one in plot.__all__}
    names |= {"np": np, "Path": Path}
    run(doctest.DocTestFinder(recurse=False).find(ENTRIES[name], name, globs=names)[0], made)


def test_examples_of_helpers_run():
    from tclr import frames, opening

    names = {"np": np}
    for function in (settings.keywords_of, settings.sort_settings, opening.split_names, frames.clip_of_frames):
        globs = names | vars(inspect.getmodule(function))
        run(doctest.DocTestFinder(recurse=False).find(function, globs=globs)[0], None)


def test_examples_of_the_page_run(made, monkeypatch):
    """The page is one story: names of one example are known in the next."""
    monkeypatch.chdir(made)
    text = (ROOT / "docs/python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5 and all(block.lstrip().startswith((">>>", "#")) for block in blocks)
    story = "\n".join(block for block in blocks if block.startswith(">>>"))
    run(doctest.DocTestParser().get_doctest(story, {}, "docs/python.md", "docs/python.md", 0), made)
