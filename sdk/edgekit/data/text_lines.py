"""JSON lines as a table: one object a line, its fields the columns."""

from __future__ import annotations

import json
from pathlib import Path

from edgekit.errors import DataError

JSON_LINES = ".jsonl"


def read_lines(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Columns in the order in which they come up, rows of cells as text (empty where there is nothing), line numbers.

    Raises:
        DataError: Not such a file, or a field that is neither text nor number; names the line.
    """
    columns: dict[str, None] = {}
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    try:
        texts = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error})") from error
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        where = f"line {number} of {path}"
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not JSON ({error})") from error
        if not isinstance(found, dict):
            raise DataError(f"{where} is not a JSON object", 'write {"text": ..., "label": ...}')
        rows.append({name: _cell(value, name, where) for name, value in found.items()})
        columns.update(dict.fromkeys(found))
        lines.append(number)
    if not rows:
        raise DataError(f"{path} has no rows")
    return list(columns), [[row.get(name, "") for name in columns] for row in rows], lines


def _cell(value: object, name: str, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value).strip()
    raise DataError(f"{where} has {type(value).__name__} in {name!r:.60}", "give texts and numbers")
