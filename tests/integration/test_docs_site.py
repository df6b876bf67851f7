"""The documentation site builds, needs nothing from the network, and names all that the code has."""

import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tclr.cli.main import COMMANDS
from tclr.schemas import config
from tclr.schemas.features import features_schema
from tclr.schemas.manifest import MANIFEST_SCHEMA
from tclr.schemas.store import CLIP_ATTRS, CLIP_FIELDS, ROOT_ATTRS, Status

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="needs mkdocs-material: install tclr with the extra dev")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr  # strict: a broken link is an error
    return out


def text_of(path):
    return unescape(re.sub(r"<[^>]+>", "", path.read_text()))


class Loads(HTMLParser):
    """Collects what a page loads by itself."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.addresses.append(values.get("src"))
        elif tag == "link" and values.get("rel") != "canonical":
            self.addresses.append(values.get("href"))


def test_pages_load_nothing_from_the_network_and_every_picture_is_there(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text())
        for address in filter(None, loads.addresses):
            assert not re.match(r"(https?:)?//", address), (page, address)
            assert (page.parent / address.split("?")[0]).exists() or page.name == "404.html", (page, address)
    sheets = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)|@import", sheets)


def test_every_command_and_option_is_in_the_reference(site):
    from tclr.cli.main import cli

    page = text_of(site / "reference/commands.html")
    for name in COMMANDS:
        assert f"tclr {name}" in page
        for option in cli.get_command(None, name).params:
            assert all(flag in page for flag in option.opts if flag.startswith("-")), (name, option)


def test_every_setting_is_in_the_reference_with_its_default(site):
    page = (site / "reference/settings.html").read_text()
    kinds = [config.DetectConfig, config.AlignConfig, config.PretrainConfig, config.FitAuConfig, config.EmbedConfig]
    for kind in [*kinds, config.EvaluateConfig, config.OverlayConfig]:
        for name, field in kind.model_fields.items():
            rows = re.findall(rf"<tr>\s*<td><code>{name}</code>.*?</tr>", page, re.DOTALL)
            texts = [unescape(re.sub(r"<[^>]+>", "", row)) for row in rows]
            assert any(str(field.default) in text and field.description[:30] in text for text in texts), name


def test_every_column_and_hdf5_field_is_in_the_reference(site):
    columns = text_of(site / "reference/columns.html")
    known = features_schema(["AU01"], ["AU01"], 2, blendshapes=True, files=True, intensity_aus=["AU01"])
    for name in [*known.names, *MANIFEST_SCHEMA.names, "AU01_r_true"]:
        assert f"\n{name}\n" in columns, name
    store = text_of(site / "reference/store.html")
    for field in CLIP_FIELDS.values():
        assert field.units in store[store.index(f"\n{field.name}\n") :][:200]
    for name in (*CLIP_ATTRS, *ROOT_ATTRS, *(status.name for status in Status)):
        assert re.search(rf"\b{name}\b", store), name


def test_figures_show_the_path_the_tuple_and_the_loss(site):
    for name, words in {"path": "tclr preprocess", "tuple": "anchor", "distances": "not ranked"}.items():
        assert words in (site / f"figures/{name}.svg").read_text()
