"""One sample, told from others by the hash of its content."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.errors import DataError


@dataclass(frozen=True)
class Box:
    """One object in a picture.

    Attributes:
        index: Its class.
        box: (left, top, right, bottom) in pixels of the picture, upright as its EXIF orientation says.
        crowd: Whether it stands for several objects (COCO's ``iscrowd``): finding it is neither right nor wrong.
    """

    index: int
    box: tuple[float, float, float, float]
    crowd: bool = False


@dataclass(frozen=True)
class Sample:
    """One sample; its raw content is read when it is asked for.

    Attributes:
        id: File name or row number, for messages.
        label: Class index, a number, or None.
        sha256: Hash of its content.
        source: Path of its file, or the raw value itself.
        boxes: The objects in a picture (none is an answer too); None where nobody looked for objects.
    """

    id: str
    label: int | float | None
    sha256: str
    source: Any = field(repr=False)
    boxes: tuple[Box, ...] | None = None

    @property
    def group(self) -> int | float | None:
        """What samples are spread over where a few are picked: the label, or the class of the first object."""
        return self.boxes[0].index if self.boxes else self.label

    def load(self) -> Any:
        """The raw sample.

        Raises:
            DataError: Its file cannot be read.
        """
        if not isinstance(self.source, Path):
            return self.source
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read sample {self.id} ({error.strerror or error})") from error
