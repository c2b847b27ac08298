"""numpy archives with ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test``, …; or ``.npy`` rows without labels."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.data.dataset import Dataset
from edgekit.data.sample import Sample
from edgekit.data.splits import settle
from edgekit.errors import DataError

_PAIRS = {
    "": (("x", "y"),),
    "train": (("x_train", "y_train"),),
    "validation": (("x_val", "y_val"), ("x_validation", "y_validation")),
    "test": (("x_test", "y_test"),),
}
_MAX_CLASSES = 1_000_000  # more is no class index


def claims(path: Path) -> bool:
    """By suffix."""
    return path.suffix.lower() in (".npz", ".npy")


def read(path: Path, *, label: str | None, labels_order: Sequence[str] | None) -> Dataset:
    """The data set: uint8 pictures are ``image`` samples, anything else ``tensor`` samples.

    Labels are whole numbers from 0 (classes), text (classes by name) or other numbers (regression).

    Raises:
        DataError: Not such an archive, lengths that differ, labels of another form, or values that are not finite.
    """
    arrays = _load(path)
    given: dict[str, list[Sample]] = {}
    found = {s: (x, y) for s, pairs in _PAIRS.items() for x, y in pairs if x in arrays}
    if not found:
        raise DataError(f"{path} has neither x nor x_train", f"it has {', '.join(arrays) or 'nothing'}")
    targets = {split: arrays[y] for split, (_, y) in found.items() if y in arrays}
    for split, (x, y) in found.items():
        _check(path, x, arrays[x])
        if split in targets and (targets[split].ndim != 1 or len(targets[split]) != len(arrays[x])):
            raise DataError(
                f"{path}: {y} has shape {targets[split].shape}, {x} has {len(arrays[x])} rows",
                "give one label a row, as class index, class name or number",
            )
    task, labels = _labels(path, targets, labels_order)
    index = {name: i for i, name in enumerate(labels)}
    for split, (x, _) in found.items():
        y_values = targets.get(split)
        given[split] = [
            Sample(f"{x}[{i}]", None if y_values is None else _target(y_values[i], index), _hash(row), row)
            for i, row in enumerate(arrays[x])
        ]
    image = all(arrays[x].dtype == np.uint8 and arrays[x].ndim in (3, 4) for x, _ in found.values())
    settled = settle(given, str(path))
    return Dataset("image" if image else "tensor", task, labels, *settled)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"x": loaded}
        with loaded as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a numpy file without objects ({error})") from error


def _check(path: Path, name: str, x: np.ndarray) -> None:
    if x.ndim == 0 or len(x) == 0:
        raise DataError(f"{path}: {name} has no rows")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{path}: {name} holds {x.dtype} values, not numbers")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int(np.argwhere(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0, 0])
        raise DataError(f"{path}: row {bad} of {name} holds NaN or infinity", "clean the data")


def _labels(path: Path, targets: dict[str, np.ndarray], order: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """(task, class names)."""
    if not targets:
        return "none", ()
    kinds = {y.dtype.kind for y in targets.values()}
    if kinds <= {"f", "i", "u"} and "f" in kinds:
        for y in targets.values():
            if y.dtype.kind == "f" and not np.isfinite(y).all():
                raise DataError(f"{path}: a label is NaN or infinite", "clean the data")
        return "regression", ()
    if kinds == {"U"}:
        have = sorted({str(v) for y in targets.values() for v in np.unique(y)})
        unknown = next((n for n in have if order and n not in order), None)
        if unknown is not None:
            raise DataError(f"{path} has a class {unknown!r:.60} that is not among the labels", "give --labels")
        return "classification", tuple(order or have)
    if not kinds <= {"i", "u", "b"}:
        raise DataError(f"{path}: labels are neither numbers nor text", "give class indices, class names or numbers")
    low, high = min(int(y.min()) for y in targets.values()), max(int(y.max()) for y in targets.values())
    count = len(order) if order else min(high + 1, _MAX_CLASSES)
    if low < 0 or high >= count:
        raise DataError(f"{path} has class {low if low < 0 else high}, there are {count} labels", "count them from 0")
    return "classification", tuple(order or map(str, range(count)))


def _target(value: np.generic, index: dict[str, int]) -> int | float:
    if value.dtype.kind == "U":
        return index[str(value)]
    return float(value) if value.dtype.kind == "f" else int(value)


def _hash(row: np.ndarray) -> str:
    """Of the values, their type and shape."""
    head = f"{row.dtype.str}{row.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(row).tobytes()).hexdigest()
