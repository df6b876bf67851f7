"""README and the tutorial do what they say: their commands and Python run in order, in one folder.

Training is made small: ``SMALLER`` says what is replaced, and a replacement that fits nothing is a failure. What would
install, run the whole demo or serve a page is only parsed (``PARSED``); ``test_docs`` holds the demo's steps against
the tutorial, and ``tests/cli/test_demo.py`` runs the demo.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARSED = ("make ", "pip install", "tclr demo ", "tclr view ")
SMALLER = {
    "--tasks 1 --frames 150": "--tasks 1 --frames 60 --size 240",
    "--subjects 12 --size 320": "--subjects 3 --size 160 --frames 30",
    "--size 128": "--size 64",
    "--image-size 128 --crop-ratio 0.7": "--image-size 32",
    "--epochs 2 --anchors-per-clip 12": "--epochs 1 --anchors-per-clip 2",
}
"""Options of the documents, and what stands for them here."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def readme():
    text = (ROOT / "README.md").read_text()
    return text[text.index("## Quick start") : text.index("## How good it is")]


def tutorial():
    return (ROOT / "docs/tutorial.md").read_text()


def parts(text):
    """Yield ("shell", line) and ("python", code) in the order of a document; output, marked ``text``, is left out."""
    for language, block in BLOCK.findall(text):
        if language == "python":
            yield "python", block
        elif language in ("", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip() and not line.lstrip().startswith("#"):
                    yield "shell", line


def is_parsed_only(line):
    return line.startswith(PARSED)


def make_smaller(line, used):
    for shown, smaller in SMALLER.items():
        if shown in line:
            line = line.replace(shown, smaller)
            used.add(shown)
    return line


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder as ``make demo`` leaves it but for the demo, in which everything has run, and what was not replaced."""
    folder, used = tmp_path_factory.mktemp("docs"), set()
    activate = folder / ".venv/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n")
    script = ["set -e"]
    for number, (kind, part) in enumerate([*parts(tutorial()), *parts(readme())]):
        if kind == "python":
            (folder / f"part{number}.py").write_text(part)
            script.append(f"python part{number}.py")
        elif not is_parsed_only(part):
            script.append(make_smaller(part, used))
    done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return folder, used


def test_tutorial_and_readme_run_to_the_letter(done):
    folder, used = done
    assert used == set(SMALLER), "the documents no longer show what is made smaller here"
    made = (
        "clips",
        "store",
        "features",
        "report.html",
        "training/run",
        "training/au.safetensors",
        "training/report.html",
    )
    assert [name for name in made if not (folder / "demo-out" / name).exists()] == []
    assert (folder / "features").is_dir()


def test_what_is_only_parsed_is_shown():
    lines = [part for text in (readme(), tutorial()) for kind, part in parts(text) if kind == "shell"]
    assert {start for start in PARSED for line in lines if line.startswith(start)} == set(PARSED) - {"pip install"} | {
        start for start in ("pip install",) if any(line.startswith(start) for line in lines)
    }
    targets = {words[1] for line in lines if (words := line.split("#")[0].split())[0] == "make"}
    rules = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets and targets <= rules


def test_every_target_that_a_document_names_is_one_of_the_makefile():
    rules = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {
        name
        for path in documents
        for name in re.findall(r"(?:^|`)make ([a-z0-9-]+)(?=[ `\n])", path.read_text(), re.MULTILINE)
    }
    assert "demo" in named and named <= rules
