"""Google-style docstrings taken apart, and what tables made of them share."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def described(thing: Any) -> tuple[str, dict[str, str]]:
    """The text before the first section, and the attributes by name, each in one paragraph of Markdown."""
    text, _, section = inspect.cleandoc(thing.__doc__ or "").partition("\n\nAttributes:\n")
    attributes: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(section).splitlines():
        start = re.fullmatch(r"(\w+): (.*)", line)
        if start:
            name = start.group(1)
            attributes[name] = start.group(2)
        elif line.strip() and name:
            attributes[name] += " " + line.strip()
    return markdown(text), {n: markdown(t) for n, t in attributes.items()}


def markdown(text: str) -> str:
    """Literals of reStructuredText and our names of things become Markdown's; paragraphs keep no line breaks."""
    paragraphs = (re.sub(r"\s+", " ", p).strip() for p in text.split("\n\n"))
    return "\n\n".join(paragraphs).replace("``", "`")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [list(headings), ["---"] * len(headings), *map(list, rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def settings(cls: type) -> str:
    """Table of a step's or a pass's settings: name, type, default, meaning."""
    assert dataclasses.is_dataclass(cls)
    attributes: dict[str, str] = {}
    for base in reversed(cls.__mro__):  # a subclass inherits the meaning of the settings it inherits
        attributes.update(described(base)[1])
    hints: Mapping[str, Any] = typing.get_type_hints(cls)
    rows = []
    for field in dataclasses.fields(cls):
        if field.name not in attributes:
            raise SystemExit(f"{cls.__name__}.{field.name} is not described under Attributes: in its docstring")
        rows.append([f"`{field.name}`", in_words(hints[field.name]), _default(field), attributes[field.name]])
    return table(["setting", "type", "default", "meaning"], rows) if rows else "No settings.\n"


def _default(field: dataclasses.Field[Any]) -> str:
    made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    return "required" if made is dataclasses.MISSING else f"`{json.dumps(made)}`"


_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "anything"}


def _plural(kind: Any) -> str:
    first, *rest = in_words(kind).split(" of ")
    return " of ".join([first if first in ("text", "anything", "true or false") else f"{first}s", *rest])


def in_words(kind: Any) -> str:
    """A field's type as its JSON form."""
    if kind in _WORDS:
        return _WORDS[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {_plural(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)}: " + ", ".join(map(in_words, arguments))
    if type(None) in arguments:
        return f"{in_words(arguments[0])} or null"
    if origin is Mapping:
        return f"object of {_plural(arguments[1])}"
    return " or ".join(map(in_words, arguments))
