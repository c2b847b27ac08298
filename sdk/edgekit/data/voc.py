"""Boxes as Pascal VOC has them: ``Annotations/*.xml``, ``JPEGImages/``, and lists of names in ``ImageSets/Main``.

Edges count pixels from 1, and both belong to the box (M. Everingham and others, "The Pascal VOC challenge", IJCV 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from edgekit.data.boxes import boxed, dataset, in_order, look
from edgekit.data.dataset import Dataset
from edgekit.data.image_folder import SUFFIXES
from edgekit.data.sample import Box, Sample
from edgekit.data.splits import NAMES
from edgekit.errors import DataError

_MAX_XML = 8 * 2**20
_Object = tuple[str, tuple[float, float, float, float]]


def claims(path: Path) -> bool:
    """A folder with ``Annotations/*.xml``."""
    return next((path / "Annotations").glob("*.xml"), None) is not None


def read(path: Path, *, label: str | None, labels_order: Sequence[str] | None) -> Dataset:
    """The data set; without lists in ``ImageSets/Main`` it is split by content hash.

    Raises:
        DataError: A file is not of the format, a picture is missing, or a box does not fit its picture.
    """
    found = {p.stem: _objects(p) for p in sorted((path / "Annotations").glob("*.xml"))}
    place = in_order(sorted({n for objects in found.values() for n, _ in objects}), labels_order, path)
    pictures = {p.stem: p for p in sorted((path / "JPEGImages").glob("*")) if p.suffix.lower() in SUFFIXES}
    split_of = _splits(path / "ImageSets" / "Main", set(found))
    given: dict[str, list[Sample]] = {}
    for stem, objects in found.items():
        if split_of and stem not in split_of:
            continue
        if stem not in pictures:
            raise DataError(f"{path} has no picture for Annotations/{stem}.xml", "put it into JPEGImages")
        boxes = [Box(place[name], edges) for name, edges in objects]
        sample = boxed(look(pictures[stem], pictures[stem].name), pictures[stem].name, boxes)
        given.setdefault(split_of.get(stem, ""), []).append(sample)
    return dataset(given, list(place), path)


def _splits(folder: Path, stems: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.txt")):
        split = NAMES.get(file.stem.lower())
        if split is not None:
            lines = file.read_text("utf-8", "replace").splitlines()
            found |= {words[0]: split for words in map(str.split, lines) if words and words[0] in stems}
    return found


def _objects(path: Path) -> list[_Object]:
    content = path.read_bytes()
    if len(content) > _MAX_XML or b"<!" in content.replace(b"<!--", b""):
        raise DataError(f"{path} has a document type or is too large", "annotations are plain XML")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - see above
        return [(str(o.findtext("name", "")).strip(), _edges(o)) for o in root.iter("object")]
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is no annotation of Pascal VOC ({error})") from error


def _edges(element: ElementTree.Element) -> tuple[float, float, float, float]:
    box = element.find("bndbox")
    texts = {} if box is None else {e: box.findtext(e) for e in ("xmin", "ymin", "xmax", "ymax")}
    if not texts or None in texts.values():
        raise ValueError("an object has no bndbox with xmin, ymin, xmax and ymax")
    left, top, right, bottom = (float(str(v)) for v in texts.values())
    return left - 1, top - 1, right, bottom
