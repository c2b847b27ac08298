"""Boxes as COCO has them: pictures and JSON files with ``images``, ``annotations`` and ``categories``.

The files lie in ``annotations/``, beside the pictures of their split, or at the top; their names say of which split
they are. Format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.data.boxes import boxed, dataset, in_order, look
from edgekit.data.dataset import Dataset
from edgekit.data.sample import Box, Sample
from edgekit.data.splits import NAMES
from edgekit.errors import DataError

_KEYS = ("images", "annotations", "categories")


def claims(path: Path) -> bool:
    """A JSON file, or a folder with one, that has COCO's three lists."""
    return any(_is_coco(p) for p in _files(path))


def read(path: Path, *, label: str | None, labels_order: Sequence[str] | None) -> Dataset:
    """The data set.

    Raises:
        DataError: A file is not of the format, a picture is missing, or a box does not fit its picture.
    """
    given: dict[str, list[Sample]] = {}
    files = {p: _load(p) for p in _files(path) if _is_coco(p)}
    names: dict[str, None] = {}
    for content in files.values():
        names |= dict.fromkeys(c["name"] for c in sorted(content["categories"], key=lambda c: c["id"]))
    place = in_order(list(names), labels_order, path)
    root = path if path.is_dir() else path.parent
    for file, content in files.items():
        split = _split(file, root)
        given.setdefault(split, []).extend(_samples(file, content, place, root))
    return dataset(given, list(place), path)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.suffix.lower() == ".json":
            yield path
        return
    for pattern in ("*.json", "annotations/*.json", "*/_annotations.coco.json"):
        yield from sorted(path.glob(pattern))


def _is_coco(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
        if not any(f'"{k}"'.encode() in head for k in (*_KEYS, "info", "licenses")):
            return False
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(k), list) for k in _KEYS)


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    for key, needed in (("images", ("id", "file_name")), ("annotations", ("image_id", "category_id", "bbox"))):
        for entry in content[key]:
            if not isinstance(entry, dict) or any(n not in entry for n in needed):
                raise DataError(f"{path}: one of its {key} does not have {', '.join(needed)}", "export it again")
    for entry in content["categories"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or "id" not in entry:
            raise DataError(f"{path}: one of its categories does not have id and name", "export it again")
    return content


def _split(file: Path, root: Path) -> str:
    """From the file's name (``instances_val2017``) or its folder's."""
    words = file.stem.lower().replace("-", "_").replace("2017", "").replace("2014", "").split("_")
    if file.parent not in (root, root / "annotations"):
        words.append(file.parent.name.lower())
    return next((NAMES[w] for w in words if w in NAMES), "")


def _samples(file: Path, content: dict[str, Any], place: dict[str, int], root: Path) -> Iterator[Sample]:
    classes = {c["id"]: place[c["name"]] for c in content["categories"]}
    objects: dict[Any, list[Box]] = {}
    for entry in content["annotations"]:
        try:
            left, top, width, height = map(float, entry["bbox"])
            index = classes[entry["category_id"]]
        except (TypeError, ValueError, KeyError) as error:
            what = "category" if isinstance(error, KeyError) else "bbox"
            raise DataError(f"{file}: annotation {entry.get('id')} has no usable {what}", "export it again") from error
        box = Box(index, (left, top, left + width, top + height), bool(entry.get("iscrowd")))
        objects.setdefault(entry["image_id"], []).append(box)
    for image in content["images"]:
        name = str(image["file_name"])
        yield boxed(look(_picture(name, file, root), name), name, objects.get(image["id"], ()))


def _picture(name: str, file: Path, root: Path) -> Path:
    """Where a picture lies: beside its file, or in a folder of the root."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{file} names the picture {name!r:.80} outside of the data set", "give names inside of it")
    stem = file.stem.removeprefix("instances_")
    for folder in (file.parent, root, root / "images", root / stem, root / "images" / stem):
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{file} names the picture {name}, which is not there", f"put it beside {file.name}")
