"""JSON lines: one object a row, read into the cells that a CSV file would have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.errors import DataError

SUFFIXES = (".jsonl", ".ndjson")


def read_jsonl(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """(header, rows of cells, line numbers); keys that an object lacks, and nulls, are empty cells.

    Raises:
        DataError: It cannot be read, a line is no object, or a value is a list or an object.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found.append((number, _object(line, number, path)))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error})") from error
    header = list(dict.fromkeys(name for _, row in found for name in row))
    rows = [[_cell(row.get(name), name, number, path) for name in header] for number, row in found]
    return header, rows, [number for number, _ in found]


def _object(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"line {number} of {path} is not JSON", "write one object a line") from error
    if not isinstance(value, dict):
        raise DataError(f"line {number} of {path} is not a JSON object", "write one object a line")
    return value


def _cell(value: Any, name: str, number: int, path: Path) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, dict)):
        raise DataError(f"line {number} of {path} has a list or an object as {name!r:.60}", "give numbers and text")
    return str(int(value)) if isinstance(value, bool) else str(value)
