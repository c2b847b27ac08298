"""Detection: COCO's mean average precision, by pycocotools, which published figures are made with.

``map`` is the mean over overlaps (intersection over union) of 0.50 to 0.95 and over the classes that are there;
``map50`` and ``map75`` are of one overlap; ``mar`` is the recall that 100 boxes a picture reach.

What pycocotools matched picture by picture is kept (`edgekit.evaluate.matches`), so that intervals and comparisons draw
pictures without matching boxes again.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.data import Sample
from edgekit.errors import DataError, EvaluationError
from edgekit.evaluate.matches import ClassMatches
from edgekit.requires import require

_STATS = {"map": 0, "map50": 1, "map75": 2, "mar": 8}


@dataclass(frozen=True)
class BoxFigures:
    """What was measured.

    Attributes:
        metrics: Name to value, ``map`` first.
        classes: Class name to (objects, average precision); None for a class without objects.
        matches: What was found of each class, picture by picture.
    """

    metrics: Mapping[str, float]
    classes: Mapping[str, tuple[int, float | None]]
    matches: tuple[ClassMatches, ...] = ()


def measure(answers: Sequence[Any], samples: Sequence[Sample], labels: Sequence[str]) -> BoxFigures:
    """Hold detections against the boxes of labelled pictures.

    Args:
        answers: A list of `edgekit_runtime`'s ``Detection`` for each picture.
        samples: The pictures.
        labels: Class names.

    Raises:
        MissingRequirement: pycocotools is not installed.
        DataError: There is no object in any picture.
        EvaluationError: An answer is no list of detections, or of a class that there is not.
    """
    require("pycocotools", "detection")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = _truth(samples, labels)
    if not truth["annotations"]:
        raise DataError("there is no object in any of the pictures", "give pictures with boxes")
    found = _found(answers, samples, len(labels))
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
        expected = COCO()
        expected.dataset = truth
        expected.createIndex()
        given = COCO()
        given.dataset = {**truth, "annotations": found}
        given.createIndex()
        run = COCOeval(expected, given, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    # (overlaps, recalls, classes, areas, limits): all areas, 100 boxes
    precision = run.eval["precision"][:, :, :, 0, -1]
    counts = np.bincount([a["category_id"] for a in truth["annotations"] if not a["iscrowd"]], minlength=len(labels))
    classes = {}
    for place, name in enumerate(labels):
        known = precision[:, :, place][precision[:, :, place] > -1]
        classes[name] = (int(counts[place]), float(known.mean()) if known.size else None)
    metrics = {name: max(0.0, float(run.stats[i])) for name, i in _STATS.items()}
    return BoxFigures(metrics, classes, _matches(run, len(labels), len(samples)))


def _matches(run: Any, classes: int, pictures: int) -> tuple[ClassMatches, ...]:
    """What pycocotools matched, over objects of all sizes; its list is by class, then size, then picture."""
    overlaps, sizes = len(run.params.iouThrs), len(run.params.areaRng)
    found = []
    for place in range(classes):
        first = place * sizes * pictures
        entries = [(i, e) for i, e in enumerate(run.evalImgs[first : first + pictures]) if e is not None]
        objects = np.zeros(pictures, np.int64)
        for i, entry in entries:
            objects[i] = np.count_nonzero(~np.asarray(entry["gtIgnore"], bool))
        nothing = np.zeros((overlaps, 0), bool)
        found.append(
            ClassMatches(
                picture=np.concatenate([np.zeros(0, np.int64), *(np.full(len(e["dtScores"]), i) for i, e in entries)]),
                score=np.concatenate([np.zeros(0), *(np.asarray(e["dtScores"], np.float64) for _, e in entries)]),
                right=np.concatenate([nothing, *(np.asarray(e["dtMatches"]) > 0 for _, e in entries)], axis=1),
                ignored=np.concatenate([nothing, *(np.asarray(e["dtIgnore"], bool) for _, e in entries)], axis=1),
                objects=objects,
            )
        )
    return tuple(found)


def _truth(samples: Sequence[Sample], labels: Sequence[str]) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        for box in sample.boxes or ():
            entries.append(_entry(number, box.index, box.box) | {"id": len(entries) + 1, "iscrowd": int(box.crowd)})
    return {
        "info": {},
        "images": [{"id": i} for i in range(len(samples))],
        "categories": [{"id": i, "name": n} for i, n in enumerate(labels)],
        "annotations": entries,
    }


def _found(answers: Sequence[Any], samples: Sequence[Sample], classes: int) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for number, (answer, sample) in enumerate(zip(answers, samples, strict=True)):
        if not isinstance(answer, list) or not all(hasattr(d, "box") for d in answer):
            raise EvaluationError(
                f"the model's answer for {sample.id} is no list of boxes", "its specification must end in nms"
            )
        for one in answer:
            if not 0 <= one.index < classes:
                raise EvaluationError(
                    f"the model found class {one.index} in {sample.id}, there are {classes}", "give --labels"
                )
            entry = _entry(number, one.index, one.box)
            entries.append(entry | {"id": len(entries) + 1, "iscrowd": 0, "score": float(one.score)})
    return entries


def _entry(number: int, index: int, box: tuple[float, float, float, float]) -> dict[str, Any]:
    left, top, right, bottom = (float(v) for v in box)
    width, height = right - left, bottom - top
    return {"image_id": number, "category_id": index, "bbox": [left, top, width, height], "area": width * height}
