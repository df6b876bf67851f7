"""Pages of the documentation that are made from the code whenever the site is built: a hook of MkDocs.

Commands come from click, settings from the settings classes, columns and HDF5 fields from ``tclr.schemas``: nothing of
them is written down twice. Figures are drawn by ``figures.py``.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import pyarrow as pa
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tclr.cli.main import COMMANDS, cli
from tclr.cli.options import TABLES
from tclr.schemas import config, features, manifest, predictions, store


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in lines) + "\n"


def commands_page() -> str:
    """Return the reference of all commands: what ``--help`` prints."""
    parts = [
        "# Commands\n",
        "Made from the commands themselves; `tclr COMMAND --help` prints the same. Settings can also stand in a TOML "
        "file, given with `--config`: see [settings](settings.md).\n",
    ]
    context = click.Context(cli, info_name="tclr", max_content_width=100, terminal_width=100)
    parts.append(f"```text\n{cli.get_help(context)}\n```\n")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, max_content_width=100, terminal_width=100)
        parts.append(f"## tclr {name}\n\n```text\n{command.get_help(inner)}\n```\n")
    return "\n".join(parts)


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    return kinds[0].__name__


def _limits(metadata: Sequence[Any]) -> str:
    signs = {"ge": "&ge;", "gt": "&gt;", "le": "&le;", "lt": "&lt;"}
    found = [f"{signs[name]} {getattr(one, name)}" for one in metadata for name in signs if hasattr(one, name)]
    return ", ".join(found)


def settings_page() -> str:
    """Return the reference of all settings, a table a stage."""
    kinds = {
        name: kind
        for name, kind in vars(config).items()
        if inspect.isclass(kind) and issubclass(kind, config.Settings) and kind is not config.Settings
    }
    by_table = {table: kinds[f"{table.title().replace('_', '')}Config"] for table in TABLES}
    parts = [
        "# Settings\n",
        "Every setting is an option of its command, as `--min-score`, and a key of its table in a TOML file given with "
        "`--config`. The command line wins over the file, the file over the default.\n",
        '```toml\n[detect]\nfps = 10\n\n[align]\nsize = 112\ncodec = "lz4"\n```\n',
    ]
    for table, kind in by_table.items():
        rows = []
        for name, field in kind.model_fields.items():
            paper = config.PAPER.get(name, field.default) if kind is config.PretrainConfig else field.default
            default = f"{field.default}" if paper == field.default else f"{field.default} (paper: {paper})"
            limits = _limits(field.metadata)
            kind_text = _kind(field.annotation) + (f", {limits}" if limits else "")
            rows.append((f"`{name}`", kind_text, default, field.description))
        doc = " ".join(inspect.getdoc(kind).split("\n\n")[0].split())  # type: ignore[union-attr]
        parts.append(f"## [{table}]\n\n{doc}\n\n{_table(('setting', 'values', 'default', ''), rows)}")
    return "\n".join(parts)


def _schema_table(schema: pa.Schema) -> str:
    rows = []
    for field in schema:
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        rows.append((f"`{field.name}`", field.type, metadata.get("units", ""), metadata.get("description", "")))
    return _table(("column", "type", "units, range", ""), rows)


def _spec(module: Any) -> str:
    """Return a schema module's docstring, which is a specification, as text."""
    return f"```text\n{inspect.getdoc(module)}\n```\n"


def columns_page() -> str:
    """Return the reference of all Parquet columns."""
    example = features.features_schema(
        ["AU01"], ["AU01"], 2, blendshapes=True, files=True, intensity_aus=["AU01"], embedding="wide"
    )
    return "\n".join(
        [
            "# Columns\n",
            "## Features\n",
            "What `tclr embed` writes. `AU01` stands for each Action Unit, `emb_000` and so on for each dimension of "
            "the embedding; `subject` is the folder's name and a column in pandas.\n",
            _schema_table(example),
            _spec(features),
            "## Manifest\n",
            f"`STORE/manifest.parquet`. {' '.join((inspect.getdoc(manifest) or '').split())}\n",
            _table(("column", "type"), [(f"`{field.name}`", field.type) for field in manifest.MANIFEST_SCHEMA]),
            "## Predictions of an evaluation\n",
            "What `tclr evaluate --predictions` writes.\n",
            _table(("column", "type"), [(f"`{f.name}`", f.type) for f in predictions.predictions_schema(["AU01"])]),
            _spec(predictions),
        ]
    )


def store_page() -> str:
    """Return the reference of the store's HDF5 files."""
    fields = [
        (
            f"`{field.name}`",
            ", ".join(field.dims),
            field.dtype,
            field.units,
            "" if field.missing is None else field.missing,
            "yes" if field.required else "",
        )
        for field in store.CLIP_FIELDS.values()
    ]
    headers = ("dataset", "axes", "type", "units", "without a face", "always there")
    return "\n".join(
        [
            "# The store\n",
            "What `tclr preprocess` writes: one HDF5 file a subject. Read it with `tclr.pipeline.store.Store`, or with "
            "h5py after `import hdf5plugin`.\n",
            _spec(store),
            "## Datasets of a clip\n",
            _table(headers, fields),
            "## Statuses\n",
            _table(("code", "status"), [(int(status), f"`{status.name}`") for status in store.Status]),
            "## Attributes of a clip\n",
            ", ".join(f"`{name}`" for name in store.CLIP_ATTRS) + "\n",
            "## Attributes of a file\n",
            ", ".join(f"`{name}`" for name in store.ROOT_ATTRS) + "\n",
        ]
    )


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/settings.md": settings_page,
    "reference/columns.md": columns_page,
    "reference/store.md": store_page,
}
"""By path in the site, who makes the page."""


def _figures() -> dict[str, Callable[[], str]]:
    """Load the figures that lie beside this file: a hook is no package."""
    spec = importlib.util.spec_from_file_location("tclr_docs_figures", Path(__file__).with_name("figures.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FIGURES


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and figures that are made from code; MkDocs calls this."""
    made = {**PAGES, **{f"figures/{name}.svg": draw for name, draw in _figures().items()}}
    for path, make in made.items():
        files.append(File.generated(config, path, content=make()))
    return files
