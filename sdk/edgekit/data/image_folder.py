"""Pictures in one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.data.dataset import Dataset
from edgekit.data.folders import holds, read_folders
from edgekit.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM")


def claims(path: Path) -> bool:
    """A folder with a picture somewhere inside."""
    return path.is_dir() and holds(path, SUFFIXES)


def read(path: Path, *, label: str | None, labels_order: Sequence[str] | None) -> Dataset:
    """The data set."""
    return read_folders(path, SUFFIXES, "image", labels_order, _check)


def _check(head: bytes, name: str) -> None:
    if not head.startswith(_MAGIC):
        state = "is not a JPEG, PNG or BMP file" if head else "is empty"
        raise DataError(f"the picture {name} {state}", "remove it from the data set")
