"""mAP on any choice of pictures, from boxes that were matched once: for intervals and for tests between detectors.

The figure is COCO's: precision made monotone from the right, read at 101 recalls, mean over overlaps and over the
classes that have objects (T.-Y. Lin and others, "Microsoft COCO", ECCV 2014; pycocotools' ``accumulate``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class ClassMatches:
    """Boxes that were found of one class.

    Attributes:
        picture: (boxes,) place of the picture.
        score: (boxes,) how sure the model is.
        right: (overlaps, boxes) whether it was matched to an object.
        ignored: (overlaps, boxes) whether it counts neither way (matched to a crowd).
        objects: (pictures,) how many there are to be found.
    """

    picture: np.ndarray
    score: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray

    def ranked(self) -> ClassMatches:
        """The same, surest first."""
        order = np.argsort(-self.score, kind="stable")
        return ClassMatches(
            self.picture[order], self.score[order], self.right[:, order], self.ignored[:, order], self.objects
        )


def both(first: ClassMatches, second: ClassMatches) -> tuple[ClassMatches, np.ndarray]:
    """The boxes of two models on the same pictures in one list, surest first, and which of them are the first's."""
    joined = ClassMatches(
        np.concatenate([first.picture, second.picture]),
        np.concatenate([first.score, second.score]),
        np.concatenate([first.right, second.right], axis=1),
        np.concatenate([first.ignored, second.ignored], axis=1),
        first.objects,
    )
    order = np.argsort(-joined.score, kind="stable")
    return joined.ranked(), (order < len(first.score))


def average_precision(ranked: ClassMatches, boxes: np.ndarray, objects: int) -> float | None:
    """Average precision of one class, the mean over overlaps; None where there is no object.

    Args:
        ranked: What was found, surest first.
        boxes: (boxes,) how often each counts.
        objects: How many there are to be found, each as often as its picture counts.
    """
    if objects == 0:
        return None
    used = np.flatnonzero(boxes)
    if not used.size:
        return 0.0
    weight = np.where(ranked.ignored[:, used], 0, boxes[used])
    right = ranked.right[:, used]
    hits = np.cumsum(weight * right, axis=1)
    answers = np.cumsum(weight, axis=1)
    precision = hits / np.maximum(answers, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total = 0.0
    for reached, level in zip(hits / objects, best, strict=True):
        places = np.searchsorted(reached, _RECALLS, side="left")
        total += float(level[places[places < level.size]].sum())
    return total / (len(best) * len(_RECALLS))


def mean_average_precision(ranked: Sequence[ClassMatches], counts: np.ndarray) -> float:
    """MAP where each picture counts `counts` times; NaN where those pictures hold no object.

    Args:
        ranked: Every class, surest boxes first.
        counts: (pictures,) how often each counts.
    """
    found = [average_precision(c, counts[c.picture], int(c.objects @ counts)) for c in ranked]
    there = [ap for ap in found if ap is not None]
    return float(np.mean(there)) if there else float("nan")


def picture_precision(matches: Sequence[ClassMatches]) -> np.ndarray:
    """(pictures,) mAP of each picture alone; of one without objects 1 if nothing was found in it, else 0."""
    pictures = len(matches[0].objects) if matches else 0
    total, classes, found = np.zeros(pictures), np.zeros(pictures), np.zeros(pictures, np.int64)
    for ranked in (c.ranked() for c in matches):
        order = np.argsort(ranked.picture, kind="stable")
        edges = np.searchsorted(ranked.picture[order], np.arange(pictures + 1))
        found += np.diff(edges)
        for i in np.flatnonzero(ranked.objects):
            mine = order[edges[i] : edges[i + 1]]
            part = ClassMatches(
                ranked.picture[mine], ranked.score[mine], ranked.right[:, mine], ranked.ignored[:, mine], ranked.objects
            )
            total[i] += average_precision(part, np.ones(len(mine), np.int64), int(ranked.objects[i])) or 0.0
            classes[i] += 1
    return np.where(classes > 0, total / np.maximum(classes, 1), found == 0)
