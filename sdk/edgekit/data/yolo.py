"""Boxes as YOLO has them: a YAML file with ``names`` and the splits' pictures, a text file for each picture.

``images/…/a.jpg`` has its boxes in ``labels/…/a.txt``, a line each: class, centre, width and height as shares of the
picture. Format: https://docs.ultralytics.com/datasets/detect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.data.boxes import Picture, boxed, dataset, in_order, look
from edgekit.data.dataset import Dataset
from edgekit.data.image_folder import SUFFIXES
from edgekit.data.sample import Box, Sample
from edgekit.data.splits import NAMES
from edgekit.errors import DataError
from edgekit.requires import require


def claims(path: Path) -> bool:
    """A YAML file, or a folder with one."""
    return _yaml(path) is not None


def read(path: Path, *, label: str | None, labels_order: Sequence[str] | None) -> Dataset:
    """The data set; pictures without a text file hold no objects.

    Raises:
        MissingRequirement: PyYAML is not installed.
        DataError: The YAML file, a text file or a picture is not what it should be.
    """
    file = _yaml(path)
    assert file is not None  # noqa: S101 - it was claimed
    content = _load(file)
    names = _names(content.get("names"), file)
    place = in_order(names, labels_order, path)
    base = file.parent / str(content.get("path") or ".")
    base = base if base.is_dir() else file.parent  # many files name a folder of another machine
    given: dict[str, list[Sample]] = {}
    for key, split in NAMES.items():
        for entry in _entries(content.get(key), file):
            given.setdefault(split, []).extend(
                _sample(p, base, [place[n] for n in names]) for p in _pictures(entry, base, file)
            )
    return dataset(given, list(place), path)


def _yaml(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() in (".yaml", ".yml") else None
    found = [p for pattern in ("*.yaml", "*.yml") for p in sorted(path.glob(pattern))]
    return next((p for p in found if b"names" in p.read_bytes()), None)


def _load(file: Path) -> dict[str, Any]:
    require("yaml", "detection")
    import yaml

    try:
        content = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"cannot read {file} ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} is no data set of YOLO's form", "it has names, train and val")
    return content


def _names(names: Any, file: Path) -> list[str]:
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
        raise DataError(f"{file} does not name each class once", "names is a list, or numbers from 0 with names")
    return [str(n) for n in names]


def _entries(value: Any, file: Path) -> list[str]:
    if value is None or value == "":
        return []
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(e, str) for e in entries):
        raise DataError(f"{file} has a split that is no folder or list of folders")
    return entries


def _pictures(entry: str, base: Path, file: Path) -> Iterator[Path]:
    place = base / entry.removeprefix("../") if not (base / entry).exists() else base / entry
    if place.is_dir():
        yield from sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES)
    elif place.suffix == ".txt" and place.is_file():
        for line in place.read_text("utf-8", "replace").splitlines():
            if line.strip():
                yield base / line.strip()
    else:
        raise DataError(f"{file} names {entry}, which is neither a folder nor a list of pictures")


def _sample(path: Path, base: Path, classes: Sequence[int]) -> Sample:
    name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name
    picture = look(path, name)
    parts = list(path.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    text = Path(*parts).with_suffix(".txt")
    if not text.is_file():
        return boxed(picture, name, ())
    lines = text.read_text("utf-8", "replace").splitlines()
    numbered = [(f"line {i} of {text}", line) for i, line in enumerate(lines, 1) if line.strip()]
    return boxed(picture, name, [_box(line, picture, classes, where) for where, line in numbered])


def _box(line: str, picture: Picture, classes: Sequence[int], where: str) -> Box:
    try:
        number, x, y, width, height = (float(v) for v in line.split())
        if number < 0:
            raise IndexError
        index = classes[int(number)]
    except (ValueError, IndexError) as error:
        what = "a class that the YAML file does not name" if isinstance(error, IndexError) else "not five numbers"
        raise DataError(f"{where} has {what}", "class, centre x and y, width and height as shares") from error
    x, width, y, height = x * picture.width, width * picture.width, y * picture.height, height * picture.height
    return Box(index, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
