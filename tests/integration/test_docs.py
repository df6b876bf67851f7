"""The documents keep up with the code: what they name is there."""

import itertools
import re
import shlex
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(path):
    named = set(re.findall(r"`(test_\w+)`", path.read_text()))
    missing = [name for name in sorted(named) if f"def {name}(" not in TESTS]
    assert not missing


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(path):
    links = re.findall(r"\]\(([^)#]+\.(?:md|py|png|webp))\)", path.read_text())
    written = [link for link in links if "://" not in link and not link.startswith("reference/")]  # made with the site
    assert all((path.parent / link).is_file() for link in written)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_document_says_something(path):
    text = path.read_text()
    assert text.startswith("# ") and len(text) > 500


def test_every_option_that_a_document_names_exists():
    from tclr.schemas import config

    settings = [kind for kind in vars(config).values() if isinstance(kind, type) and issubclass(kind, config.Settings)]
    known = {f"--{name.replace('_', '-')}" for kind in settings for name in kind.model_fields}
    extras = [field.json_schema_extra for kind in settings for field in kind.model_fields.values()]
    known |= {f"--{extra['flag']}" for extra in extras if extra}
    known |= {
        f"--no-{name.replace('_', '-')}"
        for kind in settings
        for name, field in kind.model_fields.items()
        if field.annotation is bool
    }
    sources = "\n".join(path.read_text() for path in (ROOT / "cli").rglob("*.py"))
    known |= set(re.findall(r'["/](--[a-z-]+)', sources))
    spans = {span for path in DOCS for span in re.findall(r"`[^`\n]+`", path.read_text())}
    named = {name for span in spans for name in re.findall(r"--[a-z]+(?:-[a-z]+)*", span)}
    assert named <= known | {"--import-mode", "--resources"}  # pytest's and Dask's


def test_the_tutorial_takes_the_demo_step_by_step():
    from tclr.cli.demo import demo_steps, training_steps

    steps = demo_steps(Path("demo-out")) + training_steps(Path("demo-out"))
    shown = shown_commands((ROOT / "docs/tutorial.md").read_text())
    assert [step for step in steps if step not in shown] == []


def shown_commands(text):
    """Command lines of ``tclr`` in blocks without a language or of bash, and in code within a line, as words."""
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    blocks = "\n".join(block for language, block in fenced if language in ("", "bash")).replace("\\\n", " ")
    before = r"(?:\S+\$ +)?(?:[A-Z_]+=\S* +)*"
    lines = re.findall(rf"^ *{before}(?:(?:srun )?torchrun .* -m tclr\.cli\.main|tclr) +(.*)$", blocks, re.MULTILINE)
    lines += re.findall(rf"`{before}tclr ([^`\n]+)`", text)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_command_line_that_a_document_shows_is_one_that_tclr_understands(path):
    for words in shown_commands(path.read_text()):
        understand(words)


def understand(words):
    """Parse a command line as tclr would, without running it; where no argument is shown, look its options up."""
    from tclr.cli.main import COMMANDS, cli

    where = f"tclr {shlex.join(words)}"
    while words and words[0].startswith("-"):
        assert words.pop(0) in flags_of(cli), where
    if not words or words[0] == "COMMAND":
        return
    name, *arguments = itertools.takewhile(lambda word: word not in (">", "2>", "|"), words)
    assert name in COMMANDS, where
    command = cli.get_command(None, name)
    if arguments and not arguments[0].startswith("-"):
        try:
            command.make_context(name, arguments)
        except click.UsageError as error:
            raise AssertionError(f"{where}: {error.message}") from error
    else:
        assert {word for word in arguments if word.startswith("-")} <= flags_of(command), where


def flags_of(command):
    return {"-h", "--help"} | {flag for option in command.params for flag in [*option.opts, *option.secondary_opts]}


@pytest.mark.parametrize(
    "shown",
    [
        "tclr teleport a b",
        "node1$ tclr preprocess a b --no-such 1",
        "OMP_NUM_THREADS=1 tclr preprocess a",
        "tclr preprocess a b --codec mp3",
        "tclr embed a b \\\n  --bland",
        "torchrun --nproc-per-node 4 -m tclr.cli.main pretrain a b --epoch 3 c",
    ],
)
def test_a_command_line_that_tclr_does_not_understand_is_found(shown):
    (words,) = shown_commands(f"```text\ntclr 1.0\n```\n\n```\n{shown}  # why\n```\n")
    with pytest.raises(AssertionError):
        understand(words)
