"""Which kind of data set a path is: a lazy table; entry points (group ``edgekit.data``) add to it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from edgekit.data.dataset import Dataset
from edgekit.errors import DataError

KINDS = {
    "huggingface": "edgekit.data.huggingface",
    "coco": "edgekit.data.coco",
    "yolo": "edgekit.data.yolo",
    "voc": "edgekit.data.voc",
    "image": "edgekit.data.image_folder",
    "audio": "edgekit.data.audio_folder",
    "table": "edgekit.data.table",
    "arrays": "edgekit.data.arrays",
}


def open_dataset(path: str, *, label: str | None = None, labels_order: Sequence[str] | None = None) -> Dataset:
    """Open a data set; the first kind that claims the path reads it.

    Args:
        path: Folder of pictures or wav files by class, pictures with boxes (COCO, YOLO, Pascal VOC), ``.csv``
            or ``.jsonl`` table or a folder of them, ``.npz`` arrays, a folder that Hugging Face ``datasets`` saved.
        label: Label column of a table.
        labels_order: Class names in the order of the model's scores; sorted names by default.

    Raises:
        DataError: Missing, of no known kind, or unusable.
    """
    place = Path(path)
    if not place.exists():
        raise DataError(f"there is no data set {path}")
    modules = [*KINDS.values(), *(e.value for e in entry_points(group="edgekit.data"))]
    for location in modules:
        module = importlib.import_module(location)
        if module.claims(place):
            dataset: Dataset = module.read(place, label=label, labels_order=labels_order)
            if not dataset.split("test"):
                raise DataError(f"{path} has no samples to evaluate on", "add a test folder, or more samples")
            return dataset
    raise DataError(
        f"{path} is no data set of a known kind", "give a folder of class folders, a .csv, .jsonl or a .npz"
    )
