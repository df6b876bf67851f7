"""Options shared by commands: one per setting, built from the settings classes, and ``--config``."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click
from click.shell_completion import CompletionItem
from pydantic.fields import FieldInfo

from tclr.schemas.config import PAPER, PretrainConfig, Settings, parse_settings
from tclr.schemas.errors import SettingError, suggestion

PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)

dataset_option = click.option(
    "--dataset", default="auto", show_default=True, help="Layout of SOURCE; see 'tclr datasets'."
)
stills_option = click.option(
    "--stills", is_flag=True, help="Read every picture on its own; numbered images are not joined into sequences."
)
scheduler_option = click.option(
    "--scheduler", metavar="ADDRESS", help="Use a running Dask cluster, for example tcp://host:8786."
)
form_option = click.option(
    "--as",
    "form",
    type=click.Choice(["tclr", "openface", "pyfeat"]),
    default="tclr",
    show_default=True,
    help="Columns, units and signs of the CSV files.",
)


class _Names(click.ParamType):
    """Names separated by commas."""

    name = "name,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the list of names."""
        return value if isinstance(value, list) else [name.strip() for name in value.split(",")]


class _PathOrName(click.ParamType):
    """A known name or a file; the shell completes files."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Leave completion to the shell."""
        return [CompletionItem(incomplete, type="file")]


class _Choice(click.Choice[str]):
    """One of several names; the error for another one lists them and suggests the most similar."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            raise click.BadParameter(f"{error.message}{suggestion(str(value), self.choices)}", ctx, param) from error


NAMES, PATH_OR_NAME = _Names(), _PathOrName()
init_option = click.option(
    "--init",
    type=PATH_OR_NAME,
    help="Weights to start from: a file of ImageNet's, the paper's or tclr's; facemesh for mediapipe's landmark "
    "network, or box for the bundled encoder, both with --arch facemesh.",
)
TABLES = ("detect", "align", "limits", "pretrain", "fit_au", "box", "sight", "embed", "evaluate", "overlay")


def _option(kind: type[Settings], name: str, field: FieldInfo) -> Callable[[Any], Any]:
    """Return the option for a field; ``json_schema_extra={"flag": "smooth"}`` adds a second flag."""
    flag = name.replace("_", "-")
    extra = field.json_schema_extra
    short = [f"--{extra['flag']}"] if isinstance(extra, dict) else []
    differs = kind is PretrainConfig and PAPER.get(name, field.default) != field.default
    paper = f"; paper: {PAPER[name]}" if differs else ""
    default = field.default
    if field.annotation is bool:
        default = flag if default else f"no-{flag}"
    help_text = f"{field.description}" + ("" if default in (None, "") else f"  [default: {default}{paper}]")
    if field.annotation is bool:
        return click.option(f"--{flag}/--no-{flag}", name, default=None, help=help_text)
    if get_origin(field.annotation) is Literal:
        return click.option(f"--{flag}", name, type=_Choice(get_args(field.annotation)), help=help_text)
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType]
    return click.option(*short, f"--{flag}", name, type=kinds[0], help=help_text)


def _add_options(function: Any, kind: type[Settings], fields: Mapping[str, FieldInfo]) -> Any:
    """Add an option per field; help lists them in the order of the fields."""
    for name, field in reversed(list(fields.items())):
        function = _option(kind, name, field)(function)
    return function


def _pop_given(values: dict[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Remove the fields' options from a command's values and return those that were given."""
    taken = {name: values.pop(name) for name in fields}
    return {name: value for name, value in taken.items() if value is not None}


def given_options(
    kind: type[Settings], without: Sequence[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option per field of a settings class; pass those that were given as the dictionary ``common``."""
    fields = {name: field for name, field in kind.model_fields.items() if name not in without}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **values: Any) -> Any:
            chosen = _pop_given(values, fields)
            parse_settings(kind, chosen, "the command line")
            return function(*args, common=chosen, **values)

        return _add_options(wrapper, kind, fields)

    return decorate


def read_config(path: Path | None) -> dict[str, dict[str, Any]]:
    """Read a TOML settings file with one table per stage.

    Raises
    ------
    SettingError
        If the file cannot be read, is not TOML, or has an unknown table.
    """
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"Expected a TOML settings file, but cannot read {path}: {error}.") from error
    for name, table in tables.items():
        if name not in TABLES or not isinstance(table, dict):
            raise SettingError(f"Unknown table or setting {name!r} in {path}. Known tables: {', '.join(TABLES)}.")
    return tables


def settings_options(**kinds: type[Settings]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--config FILE`` and an option per field of the settings classes.

    The command receives one settings object per keyword: ``settings_options(detect=DetectConfig)`` passes ``detect``.
    An option on the command line overrides the file, which overrides the default.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, config: Path | None, **values: Any) -> Any:
            tables = read_config(config)
            for table, kind in kinds.items():
                in_file, chosen = tables.get(table, {}), _pop_given(values, kind.model_fields)
                try:
                    values[table] = parse_settings(kind, in_file | chosen, "the command line")
                except SettingError:
                    parse_settings(kind, in_file, f"[{table}] of {config}")  # an error in the file names it
                    raise
            return function(*args, **values)

        for kind in reversed(list(kinds.values())):
            wrapper = _add_options(wrapper, kind, kind.model_fields)
        config_option = click.option("--config", type=PATH, help="TOML file with settings, one table per stage.")
        return config_option(wrapper)

    return decorate
