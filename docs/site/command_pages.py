"""Reference pages of commands and settings, built from click and the settings classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from text import code, page, prose, table

from tclr.cli.main import COMMANDS, cli
from tclr.cli.options import TABLES
from tclr.schemas import config

BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


def command_pages() -> dict[str, str]:
    """Return the Markdown of the pages by file name: the list of commands, each command, the settings."""
    pages = {"commands.md": commands_page()}
    pages |= {f"{name}.md": command_page(name) for name in COMMANDS}
    return pages | {"settings.md": settings_page()}


def settings_kind(name: str) -> type[config.Settings]:
    """Return the class of a table of the settings file: ``fit_au`` is ``FitAuConfig``."""
    return getattr(config, f"{name.title().replace('_', '')}Config")


def tables_of(command: click.Command) -> list[str]:
    """Return the tables of a settings file that a command reads."""
    names = {option.name for option in command.params}
    return [name for name in TABLES if "config" in names and settings_kind(name).model_fields.keys() <= names]


def commands_page() -> str:
    """Return the list of all commands."""
    rows = [[f"[`tclr {name}`]({name}.md)", summary] for name, summary in COMMANDS.items()]
    general = [option for option in cli.params if isinstance(option, click.Option)]
    return page(
        "Commands",
        "In the order of the work. Each command explains itself with `--help`; an error that is expected is one line, "
        "and the exit status is then 1, or 2 for a wrong command line.",
        table(["command", "what it does"], rows),
        "## Options of `tclr` itself",
        options_table(general),
    )


def command_page(name: str) -> str:
    """Return the page of a command: what it does, its examples, arguments and options."""
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        raise KeyError(name)
    usage = command.collect_usage_pieces(click.Context(command))
    options = [option for option in command.params if isinstance(option, click.Option)]
    settings = {table: settings_kind(table) for table in tables_of(command)}
    in_tables = {field for kind in settings.values() for field in kind.model_fields}
    parts = [f"```\ntclr {name} {' '.join(usage)}\n```", *help_parts(command.help or "")]
    if plain := [option for option in options if option.name not in in_tables]:
        parts += ["## Options", options_table(plain)]
    for key, kind in settings.items():
        parts += [
            f"## Settings of `[{key}]`",
            f"{summary_of(kind)} They can also be given in a file with `--config`, in the table `[{key}]`, where "
            f"`-` is `_`: [settings](settings.md) has their types and ranges.",
            options_table([option for option in options if option.name in kind.model_fields]),
        ]
    return page(f"tclr {name}", *parts)


def help_parts(text: str) -> list[str]:
    """Return the paragraphs of a help text; those that keep their lines (``\\b``) as code, without ``Example:``."""
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            lines = [line for line in paragraph.splitlines()[1:] if not line.startswith("Example")]
            parts.append("```\n" + inspect.cleandoc("\n".join(lines)) + "\n```")
        else:
            parts.append(prose(paragraph))
    return parts


def options_table(options: Sequence[click.Option]) -> str:
    """Return a row an option: its flags, meaning, values and default; what it means is next to it on a phone, too."""
    rows = []
    for option in options:
        if option.hidden:
            continue
        text, _, default = (option.help or "").partition("[default: ")
        flags = " / ".join([*option.opts, *option.secondary_opts])
        default = default_of(option, default.removesuffix("]"))
        rows.append([code(flags), prose(text), values_of(option), default])
    return table(["option", "meaning", "values", "default"], rows)


def values_of(option: click.Option) -> str:
    """Return what an option takes."""
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(code(choice) for choice in option.type.choices)
    kind = option.metavar or option.type.name.replace(" range", "")
    if isinstance(option.type, click.IntRange | click.FloatRange):
        bounds = {"ge": option.type.min, "le": option.type.max}
        return f"{kind} {bounds_text(bounds)}"
    return kind


def default_of(option: click.Option, told: str) -> str:
    """Return the default that a help text names, or the option's own; of two flags the one that holds."""
    if option.required:
        return "required"
    if option.is_flag:
        if not option.secondary_opts:
            return ""
        return code(f"--{told}" if told else (option.opts if option.default else option.secondary_opts)[0])
    default = told or (option.default if isinstance(option.default, str | int | float) else "")
    return prose(str(default))


def bounds_text(bounds: Mapping[str, Any]) -> str:
    """Return bounds as ``≥ 0, < 1``."""
    return ", ".join(text.format(f"{bounds[key]:g}") for key, text in BOUNDS.items() if bounds.get(key) is not None)


def summary_of(kind: type) -> str:
    """Return the first paragraph of a class's docstring as Markdown."""
    return prose(inspect.getdoc(kind) or "").replace("``", "`")


def settings_page() -> str:
    """Return all tables of a settings file."""
    readers: dict[str, list[str]] = {name: [] for name in TABLES}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        for key in tables_of(command) if command else []:
            readers[key].append(f"[`tclr {name}`]({name}.md)")
    parts = [
        "A TOML file given with `--config` has one table a stage. Every setting is also an option of the commands that "
        "read its table, with `-` for `_`. The command line wins over the file, the file over the default; unknown "
        "tables and settings are errors.",
        '```toml\n[align]\nsize = 112\ncodec = "jpeg"\n\n[pretrain]\nspacing = 2\n```',
    ]
    for name in TABLES:
        kind = settings_kind(name)
        paper = config.PAPER if kind is config.PretrainConfig else {}
        rows = [setting_row(key, field, paper) for key, field in kind.model_fields.items()]
        head = ["setting", "meaning", "type", "range or values", "default", *(["with recipe paper"] if paper else [])]
        parts += [f"## `[{name}]`", f"{summary_of(kind)} Read by {', '.join(readers[name])}.", table(head, rows)]
    return page("Settings", *parts)


def setting_row(name: str, field: FieldInfo, paper: Mapping[str, Any]) -> list[str]:
    """Return name, meaning, type, range and default of a setting; two defaults if there is a paper's."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        kind, allowed = "text", ", ".join(code(value) for value in get_args(annotation))
    else:
        kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
        kind = {"str": "text", "bool": "true or false", "int": "whole number", "float": "number"}[kinds[0].__name__]
        allowed = bounds_text(
            {key: getattr(rule, key) for rule in field.metadata for key in BOUNDS if hasattr(rule, key)}
        )
    default = "" if field.default is None else code(toml(field.default))
    papers = [code(toml(paper.get(name, field.default)))] if paper else []
    return [code(name), prose(field.description or ""), kind, allowed, default, *papers]


def toml(value: object) -> str:
    """Return a value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
