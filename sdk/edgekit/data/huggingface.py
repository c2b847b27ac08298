"""Folders that Hugging Face ``datasets`` saved (``save_to_disk``): pictures, sounds, boxes, arrays and tables.

Rows stay on disk, memory-mapped by Arrow; a picture or a sound is taken as the encoded bytes that it was saved with.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.data.dataset import Dataset
from edgekit.data.sample import Box, Sample
from edgekit.data.splits import NAMES, settle
from edgekit.errors import DataError
from edgekit.requires import require

_LABELS = ("label", "labels", "target", "class")


@dataclass(frozen=True)
class _Row(Sample):
    """A sample that is read from its table when it is asked for; its source is (table, row, how to read it)."""

    def load(self) -> Any:
        table, row, read = self.source
        return read(table[row])


@dataclass(frozen=True)
class _Columns:
    """What the columns are for."""

    kind: str
    raw: str
    label: str | None
    names: tuple[str, ...]
    objects: str | None = None


def claims(path: Path) -> bool:
    """A folder with the library's own files about it."""
    return path.is_dir() and ((path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file())


def read(path: Path, *, label: str | None, labels_order: Sequence[str] | None) -> Dataset:
    """The data set. The label is the column called so, or ``label``, or the only column of classes.

    Raises:
        MissingRequirement: The library is not installed.
        DataError: It cannot be read, has no column that is a sample, or a row without a label.
    """
    require("datasets", "datasets")
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # pyarrow and the library each have their own for damaged files
        raise DataError(f"{path} cannot be read as a data set of the datasets library ({str(error)[:160]})") from error
    tables = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"": loaded}
    first = next(iter(tables.values()))
    columns = _columns(first.features, label, path)
    tables = {NAMES.get(split.lower(), split): _encoded(table, columns) for split, table in tables.items()}
    labels, task = _labels(first.features, columns, tables, labels_order, path)
    given = {split: _samples(table, split, columns, labels, task, path) for split, table in tables.items()}
    settled = settle(given, str(path))
    names = columns.names if columns.kind == "table" else ()
    return Dataset(columns.kind, task, labels, *settled, names)


def _columns(features: Mapping[str, Any], label: str | None, path: Path) -> _Columns:
    import datasets

    def of(*kinds: type) -> list[str]:
        return [name for name, feature in features.items() if isinstance(feature, kinds)]

    classes = of(datasets.ClassLabel)
    if label is not None and label not in features:
        raise DataError(f"{path} has no column {label!r}", f"it has {', '.join(features)}")
    found = label or next((n for n in _LABELS if n in features), classes[0] if len(classes) == 1 else None)
    for kind, cls in (("image", datasets.Image), ("audio", datasets.Audio)):
        if raw := of(cls):
            objects = next((n for n, f in features.items() if n == "objects" and not label), None)
            return _Columns(kind, raw[0], None if objects else found, tuple(features), objects)
    scalars = [n for n in of(datasets.Value) if n != found]
    arrays = [n for n in features if n != found and n not in scalars and n not in classes]
    if len(arrays) == 1 and not scalars:
        return _Columns("tensor", arrays[0], found, tuple(features))
    scalars = [n for n in features if n != found and (n in scalars or n in classes)]
    if not scalars:
        raise DataError(f"{path} has no column of pictures, sounds, numbers or text", f"it has {', '.join(features)}")
    if found is None:
        raise DataError(f"it is not said which column of {path} is the label", "give --label COLUMN")
    return _Columns("table", "", found, tuple(scalars))


def _encoded(table: Any, columns: _Columns) -> Any:
    """The table with pictures and sounds left as the files they were."""
    import datasets

    kinds = {"image": datasets.Image, "audio": datasets.Audio}
    if columns.kind in kinds:
        return table.cast_column(columns.raw, kinds[columns.kind](decode=False))
    return table.with_format("numpy") if columns.kind == "tensor" else table


def _labels(
    features: Mapping[str, Any],
    columns: _Columns,
    tables: Mapping[str, Any],
    order: Sequence[str] | None,
    path: Path,
) -> tuple[tuple[str, ...], str]:
    """(class names, task)."""
    import datasets

    if columns.objects is not None:
        names = _object_names(features[columns.objects])
        most = max((int(c) for t in tables.values() for row in t for c in row[columns.objects]["category"]), default=0)
        return _ordered(names or [str(i) for i in range(most + 1)], order, path), "detection"
    if columns.label is None:
        return (), "none"
    feature = features[columns.label]
    if isinstance(feature, datasets.ClassLabel):
        return _ordered(feature.names, order, path), "classification"
    values = [v for t in tables.values() for v in t.with_format(None)[columns.label]]
    if isinstance(feature, datasets.Value) and feature.dtype.startswith("float"):
        return (), "regression"
    return _ordered([str(v) for v in sorted({v for v in values if v is not None})], order, path), "classification"


def _object_names(feature: Any) -> list[str]:
    """Class names of ``objects.category``, where the data set says them."""
    inner = getattr(feature, "feature", feature)
    category = inner.get("category") if isinstance(inner, Mapping) else None
    category = getattr(category, "feature", category)
    return list(getattr(category, "names", ()))


def _ordered(names: Sequence[str], order: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    unknown = next((n for n in names if order and n not in order), None)
    if unknown is not None:
        raise DataError(f"{path} has a class {unknown!r:.60} that is not among the labels", "give --labels")
    return tuple(order or names)


def _samples(table: Any, split: str, columns: _Columns, labels: Sequence[str], task: str, path: Path) -> list[Sample]:
    """Every row; each is read once, for the hash of its content."""
    import datasets

    feature = table.features[columns.label] if columns.label else None
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    read = _reader(columns)
    found: list[Sample] = []
    for number in range(len(table)):
        row, where = table[number], f"{split or 'row'}[{number}]"
        raw = read(row)
        boxes = _boxes(row[columns.objects], where, path) if columns.objects else None
        target: int | float | None = None
        if columns.label is not None:
            target = _target(row[columns.label], names, labels, task, f"{where} of {path}")
        found.append(_Row(where, target, _digest(raw), (table, number, read), boxes))
    return found


def _reader(columns: _Columns) -> Callable[[Mapping[str, Any]], Any]:
    """A row to its raw sample."""
    if columns.kind in ("image", "audio"):
        return lambda row: _content(row[columns.raw])
    if columns.kind == "tensor":
        return lambda row: np.asarray(row[columns.raw], np.float32)
    return lambda row: {name: _value(row[name]) for name in columns.names}


def _content(entry: Any) -> bytes:
    if entry is None:
        raise DataError("a row has no picture or sound", "remove it from the data set")
    if entry.get("bytes") is not None:
        return bytes(entry["bytes"])
    try:
        return Path(entry["path"]).read_bytes()
    except (OSError, TypeError) as error:
        raise DataError(f"the data set names the file {entry.get('path')}, which is not there",
                        "save it with its files inside") from error  # fmt: skip


def _value(value: Any) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _target(value: Any, names: Sequence[str] | None, labels: Sequence[str], task: str, where: str) -> int | float:
    if value is None or (names is not None and int(value) < 0):  # the library writes -1 for a class nobody knows
        raise DataError(f"{where} has no label", "fill it in or remove the row")
    if task == "regression":
        if not math.isfinite(float(value)):
            raise DataError(f"{where} has the label {value}", "clean the data")
        return float(value)
    return labels.index(names[int(value)] if names is not None else str(value))


def _boxes(objects: Any, where: str, path: Path) -> tuple[Box, ...]:
    """COCO's form: left, top, width, height."""
    try:
        edges = [tuple(map(float, box)) for box in objects["bbox"]]
        return tuple(
            Box(int(index), (left, top, left + width, top + height))
            for (left, top, width, height), index in zip(edges, objects["category"], strict=True)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} of {path} has no usable objects", "give bbox and category lists") from error


def _digest(raw: Any) -> str:
    if isinstance(raw, bytes):
        return hashlib.sha256(raw).hexdigest()
    if isinstance(raw, np.ndarray):
        return hashlib.sha256(f"{raw.dtype.str}{raw.shape}".encode() + raw.tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()
