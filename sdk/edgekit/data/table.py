"""Tables: comma-, semicolon- or tab-separated with a header, or JSON lines; a file, or a folder of one a split."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.data import jsonl
from edgekit.data.dataset import Dataset
from edgekit.data.sample import Sample
from edgekit.data.splits import NAMES, settle
from edgekit.errors import DataError

SUFFIXES = (".csv", ".tsv", *jsonl.SUFFIXES)
MISSING = {"", "na", "nan", "n/a", "null", "none"}
NO_LABEL = ""
"""For the name of the label column where there is none."""
_MAX_CLASSES = 100

Cells = list[str]


@dataclass(frozen=True)
class _File:
    """A file's header and rows; `lines` are the rows' line numbers."""

    path: Path
    header: Cells
    rows: list[Cells]
    lines: list[int]


def claims(path: Path) -> bool:
    """A ``.csv``, ``.tsv`` or ``.jsonl`` file, or a folder with one called like a split."""
    return path.suffix.lower() in SUFFIXES if path.is_file() else bool(path.is_dir() and _split_files(path))


def read(path: Path, *, label: str | None, labels_order: Sequence[str] | None) -> Dataset:
    """The data set; label numbers that are not whole, or many different ones, make it a regression.

    Features are numbers where every value of the column is one, else categories (text); what is missing is None.

    Raises:
        DataError: No label column is named or there, no rows, a row of another length, a label that is missing, a
            number that is not finite, or files of one folder with different columns.
    """
    if label is None:
        raise DataError(f"it is not said which column of {path} is the label", "give --label COLUMN")
    tables = {split: _read(file) for split, file in (_split_files(path) if path.is_dir() else {"": path}).items()}
    header = next(iter(tables.values())).header
    for table in tables.values():
        if table.header != header:
            raise DataError(f"{table.path} has other columns than its neighbours", "give them the same header")
    if label == NO_LABEL:
        return _unlabelled(path, tables, header)
    if label not in header:
        raise DataError(f"{path} has no column {label!r}", f"it has {', '.join(header)}")
    at = header.index(label)
    columns = tuple(c for c in header if c != label)
    numeric = {c: all(_numeric(r[i]) for t in tables.values() for r in t.rows) for i, c in enumerate(header)}
    texts = sorted({r[at] for t in tables.values() for r in t.rows})
    targets = [float(t) for t in texts if _is_number(t)] if numeric[label] else []
    regression = bool(targets) and (any(t != int(t) for t in targets) or len(targets) > _MAX_CLASSES)
    named = texts if not numeric[label] else sorted(texts, key=lambda t: float(t) if _is_number(t) else 0.0)
    labels = () if regression else tuple(labels_order or (t for t in named if t.lower() not in MISSING))
    place = {name: i for i, name in enumerate(labels)}
    given: dict[str, list[Sample]] = {}
    for split, table in tables.items():
        given[split] = []
        for row, line in zip(table.rows, table.lines, strict=True):
            where = f"line {line} of {table.path}"
            if row[at].lower() in MISSING:
                raise DataError(f"{where} has no {label}", "fill it in or remove the row")
            if not regression and row[at] not in place:
                raise DataError(f"{where} has class {row[at]!r:.60}, which is not among the labels")
            raw = {c: _value(v, numeric[c], c, where) for c, v in zip(header, row, strict=True) if c != label}
            target = _value(row[at], True, label, where) if regression else place[row[at]]
            digest = hashlib.sha256(json.dumps([raw, row[at]], sort_keys=True).encode()).hexdigest()
            name = f"{table.path.name} line {line}" if len(tables) > 1 else f"line {line}"
            given[split].append(Sample(name, target, digest, raw))  # type: ignore[arg-type] # a label is a number
    settled = settle(given, str(path))
    return Dataset("table", "regression" if regression else "classification", labels, *settled, columns)


def _unlabelled(path: Path, tables: Mapping[str, _File], header: Cells) -> Dataset:
    """Rows of which every column is a feature."""
    numeric = {c: all(_numeric(r[i]) for t in tables.values() for r in t.rows) for i, c in enumerate(header)}
    given: dict[str, list[Sample]] = {}
    for split, table in tables.items():
        given[split] = []
        for row, line in zip(table.rows, table.lines, strict=True):
            where = f"line {line} of {table.path}"
            raw = {c: _value(v, numeric[c], c, where) for c, v in zip(header, row, strict=True)}
            digest = hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()
            name = f"{table.path.name} line {line}" if len(tables) > 1 else f"line {line}"
            given[split].append(Sample(name, None, digest, raw))
    return Dataset("table", "none", (), *settle(given, str(path)), tuple(header))


def _split_files(folder: Path) -> dict[str, Path]:
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
    return {NAMES[p.stem.lower()]: p for p in files if p.stem.lower() in NAMES}


def _read(path: Path) -> _File:
    if path.suffix.lower() in jsonl.SUFFIXES:
        header, rows, lines = jsonl.read_jsonl(path)
        if not rows:
            raise DataError(f"{path} has no rows")
        return _File(path, header, [[v.strip() for v in row] for row in rows], lines)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            separator = max(",;\t", key=head.count)
            reader = csv.reader(file, strict=True, delimiter=separator)
            header = next(reader, [])
            numbered = [(reader.line_num, row) for row in reader if row]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error})") from error
    if not numbered:
        raise DataError(f"{path} has no rows")
    if all(len(row) == len(header) + 1 for _, row in numbered):  # R writes row names without a heading
        numbered = [(line, row[1:]) for line, row in numbered]
    double = next((c for c in header if header.count(c) > 1), None)
    if double is not None:
        raise DataError(f"{path} has two columns called {double!r}", "rename one")
    for line, row in numbered:
        if len(row) != len(header):
            raise DataError(f"line {line} of {path} does not have {len(header)} values")
    return _File(path, header, [[v.strip() for v in row] for _, row in numbered], [line for line, _ in numbered])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower() not in MISSING


def _numeric(text: str) -> bool:
    return text.lower() in MISSING or _is_number(text)


def _value(text: str, numeric: bool, column: str, where: str) -> float | str | None:
    if text.lower() in MISSING:
        return None
    if not numeric:
        return text
    number = float(text)
    if not math.isfinite(number):
        raise DataError(f"{where} has {text} in column {column!r}", "clean the data")
    return number
