"""Files in one folder a class: what pictures and sounds share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgekit.data.dataset import Dataset
from edgekit.data.sample import Sample
from edgekit.data.splits import NAMES, settle
from edgekit.errors import DataError

_IGNORED = {"_background_noise_"}  # Speech Commands keeps noise to mix in beside the classes; it is no class


def holds(root: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether there is a file with one of the suffixes somewhere inside."""
    return next(_files(root, suffixes), None) is not None


def read_folders(
    root: Path,
    suffixes: tuple[str, ...],
    kind: str,
    labels_order: Sequence[str] | None,
    check: Callable[[bytes, str], None],
) -> Dataset:
    """One folder a class, with or without ``train``/``validation``/``test`` above them; or loose, unlabelled files.

    Only one file is held at a time; contents are read again when a sample is loaded.

    Args:
        root: The folder.
        suffixes: Of the files to take, in lower case.
        kind: Of the data set.
        labels_order: Class names in the order of the model's scores; sorted names by default.
        check: Called with each file's first 64 KB and its name; raises DataError where it is of no use.

    Raises:
        DataError: No samples, a class without samples, an unusable file, or names that are not in `labels_order`.
    """
    split_folders = _splits(root) or {"": root}
    found = sorted({c.name for folder in split_folders.values() for c in _subfolders(folder)})
    labels = list(labels_order) if labels_order else found
    unknown = [n for n in found if n not in labels]
    if unknown:
        raise DataError(
            f"{root} has a class {unknown[0]!r} that is not among the labels", "give --labels in the model's order"
        )
    if not found:
        loose = [Sample(p.name, None, _hash(p, p.name, check), p) for p in sorted(_files(root, suffixes))]
        settled = settle({"": loose}, str(root))
        return Dataset(kind, "none", (), *settled)
    given: dict[str, list[Sample]] = {}
    for split, folder in split_folders.items():
        given[split] = []
        for name in sorted(c.name for c in _subfolders(folder)):
            files = sorted(_files(folder / name, suffixes))
            if not files:
                raise DataError(f"class {name!r} in {folder} has no {kind} samples", "remove the folder or fill it")
            for path in files:
                id_ = path.relative_to(root).as_posix()
                given[split].append(Sample(id_, labels.index(name), _hash(path, id_, check), path))
    settled = settle(given, str(root))
    return Dataset(kind, "classification", tuple(labels), *settled)


def _splits(root: Path) -> dict[str, Path]:
    """Split name to folder. A folder called ``train`` full of files is a class of vehicles, not a split."""
    found: dict[str, Path] = {}
    for folder in _subfolders(root):
        split = NAMES.get(folder.name.lower())
        if split is None or not _subfolders(folder):
            continue
        if split in found:
            raise DataError(f"{found[split]} and {folder} are both {split} splits", "keep one of them")
        found[split] = folder
    return found


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(
            p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in _IGNORED
        )
    except OSError as error:
        raise DataError(f"cannot read {folder} ({error.strerror or error})") from error


def _files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)  # data sets are often linked into place, and links can go in circles
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _IGNORED)
        for name in names:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield Path(place, name)


def _hash(path: Path, id_: str, check: Callable[[bytes, str], None]) -> str:
    try:
        with path.open("rb") as file:
            check(file.read(1 << 16), id_)
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read sample {id_} ({error.strerror or error})") from error
