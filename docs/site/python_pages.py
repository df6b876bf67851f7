"""The reference page of ``import tclr``, from signatures and docstrings in numpy's style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from text import page, prose

import tclr
from tclr import plot

PARAMETERS = ("Parameters", "Attributes", "Returns", "Warns", "Raises")


def python_pages() -> dict[str, str]:
    """Return the Markdown of the page by file name."""
    intro = (
        "What `import tclr` offers, written from the code. [From Python](../python.md) shows how it goes together. "
        f"This is version {tclr.__version__}, which is also `tclr.__version__`."
    )
    names = [name for name in dir(tclr) if callable(getattr(tclr, name))]
    parts = [part for name in names for part in _entry(f"tclr.{name}", getattr(tclr, name))]
    parts += [f"## `tclr.plot`\n\n{_markup(inspect.getdoc(plot) or '')}"]
    for name in plot.__all__:
        parts += _entry(f"tclr.plot.{name}", getattr(plot, name))
    return {"python.md": page("Python", intro, *parts)}


def _entry(name: str, thing: Any) -> Iterator[str]:
    """Yield the parts of a function or a class with its methods."""
    yield f"## `{name}`"
    yield f"```python\n{_signature(name, thing)}\n```"
    yield docstring_to_markdown(inspect.getdoc(thing) or "")
    for method, function in vars(thing).items() if inspect.isclass(thing) else ():
        if inspect.isfunction(function) and not method.startswith("_"):
            yield f"### `{name}.{method}`"
            yield f"```python\n{_signature(method, function)}\n```"
            yield docstring_to_markdown(inspect.getdoc(function) or "")


def _signature(name: str, thing: Callable[..., Any]) -> str:
    """Return a call with its defaults, one parameter per line, without annotations."""
    parameters = [p.replace(annotation=p.empty) for p in inspect.signature(thing).parameters.values()]
    shown: list[str] = []
    starred = False
    for parameter in parameters:
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown, starred = [*shown, "*"], True
        shown.append(str(parameter))
    line = f"{name}({', '.join(shown)})"
    return line if len(line) <= 88 else f"{name}(\n" + "".join(f"    {one},\n" for one in shown) + ")"


def split_sections(text: str) -> list[tuple[str, str]]:
    """Return the sections of a docstring in numpy's style, the first without a title."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", text, flags=re.MULTILINE)
    return [("", parts[0].strip()), *((parts[i], parts[i + 1].strip("\n")) for i in range(1, len(parts), 2))]


def docstring_to_markdown(text: str) -> str:
    """Return a docstring as Markdown: fields as a list, examples as code."""
    out = []
    for title, body in split_sections(text):
        if not title:
            out.append(_markup(body))
        elif title in PARAMETERS:
            out.append(f"**{title}**\n\n{_fields(body)}")
        else:
            out.append(f"**{title}**\n\n{_examples(body)}")
    return "\n\n".join(out)


def _fields(body: str) -> str:
    """Return the fields of a section as a list: a line at the margin names one, deeper lines describe it."""
    items: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line and not line.startswith(" "):
            items.append((line, []))
        elif items:
            items[-1][1].append(line.strip())
    return "\n".join(f"- {_field(head)}: {_markup(' '.join(lines).strip())}" for head, lines in items)


def _field(head: str) -> str:
    name, _, kind = head.partition(" : ")
    return f"`{name}` ({prose(kind)})" if kind else f"`{name}`"


def _examples(body: str) -> str:
    """Return examples as code, and the words between them."""
    parts = [part.strip("\n") for part in re.split(r"\n\s*\n", body)]
    return "\n\n".join(f"```python\n{part}\n```" if part.startswith(">>>") else _markup(part) for part in parts)


def _markup(text: str) -> str:
    """Return reStructuredText's code as Markdown's."""
    return prose(text.replace("``", "`"))
