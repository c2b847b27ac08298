"""Wav files in one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.data.dataset import Dataset
from edgekit.data.folders import holds, read_folders
from edgekit.errors import DataError

SUFFIXES = (".wav",)


def claims(path: Path) -> bool:
    """A folder with a wav file somewhere inside."""
    return path.is_dir() and holds(path, SUFFIXES)


def read(path: Path, *, label: str | None, labels_order: Sequence[str] | None) -> Dataset:
    """The data set."""
    return read_folders(path, SUFFIXES, "audio", labels_order, _check)


def _check(head: bytes, name: str) -> None:
    if not (head[:4] == b"RIFF" and head[8:12] == b"WAVE"):
        state = "is not a wav file" if head else "is empty"
        raise DataError(f"the sound {name} {state}", "remove it from the data set")
