"""The documents keep up with the code: what they name is there."""

import re
from pathlib import Path

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
    sources = "\n".join(path.read_text() for path in (ROOT / "cli").glob("*.py"))
    known |= set(re.findall(r'"(--[a-z-]+)', sources))
    spans = {span for path in DOCS for span in re.findall(r"`[^`\n]+`", path.read_text())}
    named = {name for span in spans for name in re.findall(r"--[a-z]+(?:-[a-z]+)*", span)}
    assert named <= known | {"--import-mode", "--resources"}  # pytest's and Dask's


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_command_line_that_a_document_shows_has_the_options_of_its_command(path):
    from tclr.cli.main import COMMANDS, cli

    blocks = re.findall(r"^```\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^(?:.* -m tclr\.cli\.main|tclr) ([a-z-]+)(.*)$", "\n".join(blocks), re.MULTILINE)
    for name, arguments in lines:
        if name in COMMANDS:
            known = {
                flag for option in cli.get_command(None, name).params for flag in [*option.opts, *option.secondary_opts]
            }
            assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", arguments.split("#")[0])) <= known, (
                f"tclr {name} {arguments}"
            )
