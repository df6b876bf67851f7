"""The documentation site: it builds without a warning, loads nothing from elsewhere, and its reference is complete."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from bs4 import BeautifulSoup

from tclr.cli.main import COMMANDS, cli
from tclr.cli.options import TABLES
from tclr.schemas import config, descriptions
from tclr.schemas.action_units import AU_NAMES
from tclr.schemas.features import features_schema
from tclr.schemas.manifest import MANIFEST_SCHEMA
from tclr.schemas.predictions import predictions_schema
from tclr.schemas.store import CLIP_FIELDS, ClipAttrs, RootAttrs, Status

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs/site"


def run_python(*arguments):
    quiet = os.environ | {"NO_COLOR": "1"}
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, env=quiet)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as 'make docs' does."""
    out = tmp_path_factory.mktemp("docs") / "site"
    built = run_python(SITE / "build.py", out)
    assert built.returncode == 0, built.stderr
    assert not built.stderr
    return out


@pytest.fixture(scope="module")
def rows(site):
    """First cell of each row of a page's tables -> the cells of that row, as text; later rows of that name win."""

    def read(name):
        page = BeautifulSoup((site / f"reference/{name}.html").read_text(), "html.parser")
        cells = [[" ".join(cell.text.split()) for cell in row.find_all(["td", "th"])] for row in page.find_all("tr")]
        return {row[0]: row for row in cells}

    return read


def test_a_broken_link_is_an_error(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    links = "[a](other.md#a-part) [b](nowhere.md) [c](other.md#no-such-part)"
    (source / "index.md").write_text(f"# Index\n\n{links}\n\n```{{toctree}}\nother\n```\n")
    (source / "other.md").write_text("# Other\n\n## A part\n")
    code = f"import sys; sys.path.insert(0, {str(SITE)!r}); from pathlib import Path; from build import render; "
    built = run_python("-c", code + "sys.exit(render(*map(Path, sys.argv[1:])))", source, tmp_path / "out", tmp_path)
    assert built.returncode != 0
    complaints = [line for line in built.stderr.splitlines() if "WARNING" in line]
    assert len(complaints) == 2 and "nowhere" in complaints[0] and "no-such-part" in complaints[1]


def test_nothing_is_loaded_from_elsewhere(site):
    sources = r'<(?:script|img|iframe|source|video)\b[^>]*?\bsrc="([^"]*)"|<link\b[^>]*?\bhref="([^"]*)"|url\(([^)]*)\)'
    text = "\n".join(path.read_text() for pattern in ("*.html", "*.css") for path in site.rglob(pattern))
    loaded = {"".join(places).strip("'\"") for places in re.findall(sources, text)}
    assert {"_static/site.css", "_images/tuple.webp"} <= {re.sub(r"^(\.\./)*|\?.*", "", place) for place in loaded}
    assert not [place for place in loaded if "//" in place and not place.startswith("data:")]
    assert "@import" not in text


def test_search_works_without_a_server_and_pages_ask_for_nothing(site, chromium):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(f"{site.as_uri()}/search.html?q=interpolated")
    WebDriverWait(chromium, 30).until(lambda browser: "The store" in browser.find_element(By.ID, "search-results").text)
    chromium.get(f"{site.as_uri()}/method.html")
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert any(url.endswith("searchindex.js") for url in asked)
    assert all(url.startswith((site.as_uri(), "data:")) for url in asked)
    assert chromium.get_log("browser") == []


def test_pages_fit_a_phone_and_follow_the_system_into_the_dark(site, chromium):
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    try:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        for name in ("index", "method", "migrating", "reference/settings", "faq"):
            chromium.get(f"{site.as_uri()}/{name}.html")
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= 390, name
        background = chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in re.findall(r"\d+", background)[:3]) < 60
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_formulas_are_mathml(site):
    page = BeautifulSoup((site / "method.html").read_text(), "html.parser")
    blocks = page.select("div.formula math")
    assert len(blocks) == 2 and "max" in blocks[1].text
    assert page.select("p math")
    assert "$" not in page.select_one("article").text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_in_the_reference(rows, name):
    table = rows(name)
    assert COMMANDS[name] == rows("commands")[f"tclr {name}"][1]
    for option in cli.get_command(None, name).params:
        if option.param_type_name == "option" and not option.hidden:
            flags, meaning, values, default = table[" / ".join([*option.opts, *option.secondary_opts])]
            told, _, told_default = option.help.partition("[default: ")
            assert meaning == " ".join(told.split())
            assert set(getattr(option.type, "choices", ())) <= set(values.split(", "))
            if option.required:
                assert default == "required"
            elif option.secondary_opts:
                flags = option.opts if option.default else option.secondary_opts
                assert default == (f"--{told_default.removesuffix(']')}" if told_default else flags[0])
                assert default in option.opts + option.secondary_opts
            elif told_default:
                assert default == told_default.removesuffix("]")
            elif isinstance(option.default, str | int) and not option.is_flag:
                assert default == str(option.default)


def test_arguments_and_examples_of_commands_are_in_the_reference(site):
    page = BeautifulSoup((site / "reference/fit-au.html").read_text(), "html.parser")
    blocks = [block.text for block in page.find_all("pre")]
    assert "tclr fit-au [OPTIONS] STORE\n" in blocks
    assert any(block.startswith("tclr fit-au store/ -o au.safetensors\n") for block in blocks)
    assert not any("\b" in block or "Example" in block for block in blocks)


def test_every_setting_is_in_the_reference(site):
    page = BeautifulSoup((site / "reference/settings.html").read_text(), "html.parser")
    found = {section.h2.code.text: section for section in page.select("section section")}
    kinds = [kind for kind in vars(config).values() if isinstance(kind, type) and issubclass(kind, config.Settings)]
    kinds.remove(config.Settings)
    assert len(kinds) == len(TABLES) == len(found)
    for kind in kinds:
        table = next(key for key in TABLES if f"{key.replace('_', '')}config" == kind.__name__.lower())
        shown = [[cell.text for cell in row.find_all("td")] for row in found[f"[{table}]"].find_all("tr")][1:]
        assert [row[0] for row in shown] == list(kind.model_fields)
        for row, (name, field) in zip(shown, kind.model_fields.items(), strict=True):
            default = "" if field.default is None else str(field.default)
            default = default.lower() if isinstance(field.default, bool) else default
            assert row[4].strip('"') == default
            assert row[1] == field.description
            if get_origin(field.annotation) is Literal:
                assert row[3].split(", ") == list(get_args(field.annotation))
            if kind is config.PretrainConfig:
                assert row[5].strip('"') == str(config.PAPER.get(name, field.default)).replace("False", "false")


def test_ranges_of_settings_are_in_the_reference(rows):
    settings = rows("settings")
    assert settings["size"][3] == "≥ 16, ≤ 2048"
    assert settings["geometry_weight"][3] == "≥ 0"
    assert settings["dropout"][3] == "≥ 0, < 1"
    assert settings["l2"][3] == "> 0"


def test_every_column_of_the_features_is_in_the_reference(rows):
    table = rows("features")
    types = {"dictionary": "category", "int8": "Int8", "int32": "Int32", "double": "float64", "float": "float32"}
    schemas = [
        features_schema(
            ["AU01"], ["AU01"], 256, blendshapes=True, files=True, sight=True, intensity_aus=["AU01"], embedding=kind
        )
        for kind in ("wide", "list")
    ]
    text = " ".join(cell for row in table.values() for cell in row)
    for field in {field.name: field for schema in schemas for field in schema}.values():
        if re.fullmatch(r"emb_\d+|bs_\w+", field.name):
            continue
        _, meaning, kind, units = table[f"{field.name}, ..." if field.name.startswith("AU") else field.name]
        assert kind == types.get(str(field.type).partition("<")[0], kind)
        assert units == field.metadata[b"units"].decode() and meaning == field.metadata[b"description"].decode()
    assert "emb_000 ... emb_255" in text
    assert table["emb"][2] == "list of 256 float32"
    assert table["subject"][2] == "category"


def test_every_blendshape_is_in_the_reference(site):
    words = set(re.findall(r"bs_\w+", (site / "reference/features.html").read_text()))
    assert words >= {field.name for field in features_schema([], [], 2, blendshapes=True) if "bs_" in field.name}


def test_every_field_of_the_store_is_in_the_reference(rows):
    table = rows("store")
    for field in CLIP_FIELDS.values():
        _, meaning, axes, kind, units, missing, there = table[field.name]
        assert (axes, kind, units) == (", ".join(field.dims), field.dtype, field.units)
        assert (there == "always") == field.required
        assert meaning == descriptions.DATASETS[field.name]
        if field.missing is None:
            assert missing == "never missing"
        elif field.missing != "":
            assert float(missing) == field.missing or math.isnan(field.missing) and missing == "NaN"
    for status in Status:
        assert table[str(int(status))][1] == status.name
    meanings = descriptions.CLIP_ATTRIBUTES | descriptions.FILE_ATTRIBUTES  # both have a tclr_version
    for name in {*ClipAttrs.__dataclass_fields__, *RootAttrs.__dataclass_fields__}:
        assert table[name][-1] == meanings[name] != ""


def test_every_column_of_the_manifest_and_of_predictions_is_in_the_reference(rows):
    manifest = rows("manifest")
    for field in MANIFEST_SCHEMA:
        assert manifest[field.name][2] == {"double": "float64"}.get(str(field.type), str(field.type))
        assert manifest[field.name][1]
    shown = rows("evaluation")
    for field in predictions_schema(["AU01"]):
        assert shown[f"{field.name}, ..." if field.name.startswith("AU") else field.name][1]


def test_every_field_is_described_and_nothing_else():
    assert list(descriptions.DATASETS) == list(CLIP_FIELDS)
    assert list(descriptions.STATUSES) == [status.name for status in Status]
    assert set(descriptions.MANIFEST) | set(descriptions.CLIP_ATTRIBUTES) >= set(MANIFEST_SCHEMA.names)
    assert set(descriptions.MANIFEST) <= set(MANIFEST_SCHEMA.names) - set(descriptions.CLIP_ATTRIBUTES)


def test_every_action_unit_is_in_the_reference(rows):
    table = rows("action-units")
    for number, name in AU_NAMES.items():
        assert table[f"AU{number:02d}"][1] == name
    assert table["AU12"][2:] == ["yes", "yes", "yes"]
    assert table["AU45"][2:] == ["", "", ""]
