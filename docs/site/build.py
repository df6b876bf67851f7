"""Builds the documentation site: ``python docs/site/build.py build/docs``, or ``make docs``.

The pages are those of ``docs/``, the changelog, and the reference, which is written from the code at every build: it is
never committed, so it cannot go stale.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from command_pages import command_pages
from file_pages import file_pages
from python_pages import python_pages
from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
NAVIGATION: dict[str, list[str]] = {
    "Tutorial": ["tutorial"],
    "How to": [
        "own-videos", "stages", "python", "footage", "labels", "bp4d", "disfa", "emotionet", "voxceleb2", "reproduce",
        "training", "gpu", "cluster", "scaling", "faults", "pandas-and-r", "analysis", "migrating", "report", "viewer",
        "overlay", "live",
    ],
    "Reference": [],
    "Explanation": [
        "method", "architecture", "tuples", "pretraining", "encoders", "model-card", "evidence", "photo-people",
        "action-units", "blendshape-aus", "gaze", "evaluation", "alignment", "people", "time", "footage", "long-videos",
        "detectors",
        "performance",
    ],
    "Questions": ["faq"],
}  # fmt: skip
"""Pages of ``docs/`` by chapter; what is not named here goes to the end of How to."""
COPIED = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
"""Pages that lie outside ``docs/``."""


def toctree(names: Iterable[str], caption: str = "") -> str:
    """Return a branch of the navigation, for the end of a page."""
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", "```{toctree}", *options, "", *names, "```", ""])


def gather(folder: Path) -> None:
    """Write all pages and pictures into an empty folder, with the navigation in ``index.md``."""
    for path in DOCS.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    shutil.copytree(DOCS / "images", folder / "images")
    for name, source in COPIED.items():
        shutil.copy(ROOT / source, folder / f"{name}.md")
    commands, files = command_pages(), python_pages() | file_pages()
    reference = folder / "reference"
    reference.mkdir()
    chief = ["commands.md", "settings.md", *files]
    commands["commands.md"] += toctree(Path(name).stem for name in commands if name not in chief)
    for name, text in (commands | files).items():
        (reference / name).write_text(text)
    placed = {"index", *(name for names in NAVIGATION.values() for name in names)}
    others = sorted(path.stem for path in DOCS.glob("*.md") if path.stem not in placed)
    chapters = NAVIGATION | {
        "How to": NAVIGATION["How to"] + others,
        "Reference": [f"reference/{Path(name).stem}" for name in chief] + [*COPIED],
    }
    with (folder / "index.md").open("a") as index:
        index.write("\n## Reference\n\nWritten from the code:\n\n")
        index.writelines(f"- [](reference/{name})\n" for name in chief)
        index.writelines(toctree(names, caption) for caption, names in chapters.items())


def render(source: Path, out: Path, doctrees: Path) -> int:
    """Render a folder of pages; return Sphinx's exit status: not 0 after any warning, such as a broken link."""
    conf = str(Path(__file__).parent)
    return build_main(["-q", "-W", "--keep-going", "-c", conf, "-d", str(doctrees), str(source), str(out)])


def build(out: Path) -> int:
    """Build the site in a folder; return the exit status."""
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "source"
        source.mkdir()
        gather(source)
        return render(source, out, Path(work) / "doctrees")


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))
