"""Strict settings: a table of a TOML file to a dataclass, every key known, paths beside the file, secrets elsewhere."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from edgekit_runtime.errors import UsageError
from edgekit_runtime.plain import PlainDataError, decode

T = TypeVar("T")


def path_field(default: str = dataclasses.MISSING) -> Any:  # type: ignore[assignment]
    """A text field that names a file: relative to the TOML file, as it is read."""
    return dataclasses.field(default=default, metadata={"path": True})


def read_table(cls: type[T], data: object, where: str, folder: Path) -> T:
    """A dataclass from a table.

    Args:
        cls: Dataclass with defaults for whatever may be left out.
        data: The table.
        where: What errors call it, as ``[source]``.
        folder: What relative paths are relative to.

    Raises:
        UsageError: An unknown key (names it and the nearest one), a missing one, or a value that does not fit.
    """
    if not isinstance(data, Mapping):
        raise UsageError(f"{where} must be a table")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UsageError(f"{where} has no setting {key!r:.60}", nearest(str(key), fields))
    try:
        read = decode(cls, dict(data), where)
    except PlainDataError as error:
        raise UsageError(error.message, "see docs/guide/watch.md") from error
    places = {
        n: str(folder / getattr(read, n)) for n, f in fields.items() if f.metadata.get("path") and getattr(read, n)
    }
    return dataclasses.replace(read, **places) if places else read  # type: ignore[type-var]


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """The hint for a mistyped name."""
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"


def secret(file: str, variable: str, where: str) -> str:
    """A secret from a file, or from an environment variable; empty where neither is named.

    Raises:
        UsageError: It cannot be read, is empty, or both are named.
    """
    if file and variable:
        raise UsageError(f"{where} is named as a file and as an environment variable", "keep one of them")
    if variable:
        if not os.environ.get(variable):
            raise UsageError(f"{where}: the environment variable {variable} is not set")
        return os.environ[variable]
    if not file:
        return ""
    try:
        text = Path(file).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{where}: cannot read {file} ({getattr(error, 'strerror', None) or error})") from error
    if not text:
        raise UsageError(f"{where}: {file} is empty")
    return text
