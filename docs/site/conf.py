"""Sphinx settings of the documentation site; ``docs/site/build.py`` gathers its pages."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

project = "tclr"
copyright = "the authors of tclr; MIT licence"
release = metadata.version("tclr-face")
extensions = ["myst_parser", "sphinx_copybutton"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
highlight_language = "none"
smartquotes = False  # would make --faces a dash and a word

html_theme = "furo"
html_title = "tclr"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_show_sphinx = False
html_show_search_summary = False  # would be fetched, which browsers forbid without a server
html_math_renderer = "mathml"


def setup(app: Sphinx) -> None:
    """Show formulas as MathML, which browsers draw without a script."""
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))


def write_formula(writer: Any, node: nodes.math | nodes.math_block) -> None:
    """Write a formula; there is nothing to do after it."""
    if isinstance(node, nodes.math_block):
        writer.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    else:
        writer.body.append(convert(node.astext()))
    raise nodes.SkipNode
