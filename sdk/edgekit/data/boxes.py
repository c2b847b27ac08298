"""What the kinds of box data share: pictures with their sizes, boxes that fit into them, splits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.data.dataset import Dataset
from edgekit.data.sample import Box, Sample
from edgekit.data.splits import settle
from edgekit.errors import DataError
from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.picture_header import read_header

_SLACK = 1.5  # pixels that a box may stick out by: annotators round
_SIDEWAYS = 5  # EXIF orientations from here on exchange width and height


@dataclass(frozen=True)
class Picture:
    """A picture file that was looked at.

    Attributes:
        path: The file.
        width: In pixels, upright.
        height: In pixels, upright.
        sha256: Of its content.
    """

    path: Path
    width: int
    height: int
    sha256: str


def look(path: Path, name: str) -> Picture:
    """Read a picture's header.

    Raises:
        DataError: It is not there, or is no picture.
    """
    try:
        content = path.read_bytes()
        head = read_header(content, name)
    except OSError as error:
        raise DataError(f"cannot read picture {name} ({error.strerror or error})") from error
    except SpecificationError as error:
        raise DataError(error.message, "remove it from the data set") from error
    sides = (head.height, head.width) if head.orientation >= _SIDEWAYS else (head.width, head.height)
    return Picture(path, *sides, hashlib.sha256(content).hexdigest())


def boxed(picture: Picture, name: str, boxes: Iterable[Box]) -> Sample:
    """The sample, its boxes cut to the picture; boxes without area are left out, as COCO's evaluation does.

    Raises:
        DataError: A box lies outside the picture, or is not made of numbers: boxes of another picture, most often.
    """
    kept = []
    for one in boxes:
        left, top, right, bottom = one.box
        if not all(map(math.isfinite, one.box)) or left > right or top > bottom:
            raise DataError(f"a box of {name} has edges {one.box}", "left and top come before right and bottom")
        if min(left, top) < -_SLACK or right > picture.width + _SLACK or bottom > picture.height + _SLACK:
            raise DataError(
                f"a box of {name} reaches to ({right:g}, {bottom:g}), the picture has {picture.width} by"
                f" {picture.height} pixels",
                "check that boxes and pictures belong together",
            )
        inside = (max(left, 0.0), max(top, 0.0), min(right, picture.width), min(bottom, picture.height))
        if inside[0] < inside[2] and inside[1] < inside[3]:
            kept.append(Box(one.index, inside, one.crowd))
    return Sample(name, None, picture.sha256, picture.path, tuple(kept))


def dataset(given: Mapping[str, Sequence[Sample]], labels: Sequence[str], where: Path) -> Dataset:
    """The data set.

    Raises:
        DataError: There are no samples at all.
    """
    settled = settle(given, str(where))
    return Dataset("image", "detection", tuple(labels), *settled)


def in_order(found: Sequence[str], wanted: Sequence[str] | None, where: Path) -> dict[str, int]:
    """Class name to index.

    Raises:
        DataError: A class is not among the wanted ones.
    """
    labels = list(wanted) if wanted else list(found)
    unknown = next((n for n in found if n not in labels), None)
    if unknown is not None:
        raise DataError(
            f"{where} has a class {unknown!r:.60} that is not among the labels", "give --labels in the model's order"
        )
    return {name: i for i, name in enumerate(labels)}
