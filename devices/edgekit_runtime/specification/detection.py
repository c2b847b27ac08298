"""Boxes: decoding what detectors give, non-maximum suppression, back to the pixels of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.output import label_of, scores_of
from edgekit_runtime.specification.step import Context, Step

_MAX_CLASSES = 10_000


@dataclass(frozen=True)
class Detection:
    """One object.

    Attributes:
        label: Class name, or its index as text.
        index: Class index.
        score: Confidence, 0 to 1.
        box: (left, top, right, bottom) in pixels of the picture as it was given.
    """

    label: str
    index: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Candidates:
    """Boxes before suppression.

    Attributes:
        boxes: (n, 4) left, top, right, bottom as shares of the model's input picture.
        scores: (n, classes).
    """

    boxes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Boxes(Step):
    """Two outputs, boxes (n, 4) and scores (n, classes), to candidates; or three, where scores are of one class each.

    Attributes:
        boxes: Name of the box output.
        scores: Name of the score output.
        classes: Name of the output of class indices (n,), for detectors that have chosen a class already, as those
            that end in ``TFLite_Detection_PostProcess``; their scores are (n,). Empty where there is none.
        form: ``xyxy``, ``yxyx`` or ``cxcywh``.
        pixels: Whether boxes are in pixels of the model's input picture rather than shares of it.
    """

    name = "boxes"
    boxes: str = "boxes"
    scores: str = "scores"
    classes: str = ""
    form: str = "xyxy"
    pixels: bool = False

    def __post_init__(self) -> None:
        if self.form not in ("xyxy", "yxyx", "cxcywh"):
            raise ValueError(f"form must be xyxy, yxyx or cxcywh, not {self.form!r}")

    def __call__(self, value: Any, context: Context) -> Candidates:
        boxes = _finite(scores_of(value, self.boxes))
        scores = _finite(scores_of(value, self.scores))
        if self.classes:
            scores = _by_class(scores.reshape(-1), _finite(scores_of(value, self.classes)).reshape(-1))
        if boxes.ndim < 2 or scores.ndim < 2:
            raise SpecificationError(f"boxes {boxes.shape} and scores {scores.shape} must have two axes")
        boxes, scores = boxes.reshape(-1, boxes.shape[-1]), scores.reshape(-1, scores.shape[-1])
        if boxes.shape[1] != 4 or len(boxes) != len(scores):
            raise SpecificationError(f"boxes {boxes.shape} and scores {scores.shape} do not belong together")
        if self.form == "yxyx":
            boxes = boxes[:, [1, 0, 3, 2]]
        elif self.form == "cxcywh":
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        if self.pixels:
            height, width = context.input_size
            if not height or not width:
                raise SpecificationError("boxes in pixels need step decode or resize among the input steps")
            boxes = np.asarray(boxes / np.array([width, height, width, height], np.float32), np.float32)
        return Candidates(boxes, scores)


def _finite(array: np.ndarray) -> np.ndarray:
    if not np.isfinite(array).all():
        raise SpecificationError("the model's boxes or scores are infinite; the model or its input is broken")
    return array.astype(np.float32)


def _by_class(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(n, classes) scores that are zero but for each box's own class."""
    if len(scores) != len(classes) or classes.min() < 0 or classes.max() >= _MAX_CLASSES:
        raise SpecificationError(f"{len(classes)} class indices up to {classes.max():.0f} do not fit the scores")
    table = np.zeros((len(scores), int(classes.max()) + 1), np.float32)
    table[np.arange(len(scores)), classes.astype(np.intp)] = scores
    return table


@dataclass(frozen=True)
class GridBoxes(Step):
    """A grid of objectness, box and class scores, as FastestDet gives it, to candidates.

    The output is (1 + 4 + classes, rows, columns); objectness and classes are probabilities already. Centre =
    (cell + tanh) / cells, extent = sigmoid, score = objectness^0.6 * class^0.4 (FastestDet, utils/tool.py).

    Attributes:
        output: Output to take; the first by default.
    """

    name = "grid_boxes"
    output: str = ""

    def __call__(self, value: Any, context: Context) -> Candidates:
        grid = _finite(scores_of(value, self.output))
        if grid.ndim != 3 or grid.shape[0] < 6:
            raise SpecificationError(f"step grid_boxes takes (1 + 4 + classes, rows, columns), not {grid.shape}")
        rows, columns = grid.shape[1:]
        y, x = np.mgrid[0:rows, 0:columns]
        centre_x, centre_y = (x + np.tanh(grid[1])) / columns, (y + np.tanh(grid[2])) / rows
        width, height = 1 / (1 + np.exp(-grid[3:5].clip(-80, 80)))
        edges = [centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2]
        boxes = np.stack(edges, axis=-1).reshape(-1, 4)
        scores = np.clip(grid[0], 0, 1)[None] ** 0.6 * np.clip(grid[5:], 0, 1) ** 0.4
        return Candidates(boxes, scores.reshape(len(scores), -1).T)


@dataclass(frozen=True)
class Nms(Step):
    """Candidates to a list of `Detection`: per-class greedy suppression, best first, in pixels of the given picture.

    Each candidate counts for its best class alone. Boxes are clipped to the picture, which is upright as its EXIF
    orientation says.

    Attributes:
        score: Candidates below it are dropped.
        overlap: Intersection over union above which the weaker of two boxes of one class is dropped.
        limit: Largest number of detections.
    """

    name = "nms"
    presents = True
    score: float = 0.25
    overlap: float = 0.45
    limit: int = 100

    def __post_init__(self) -> None:
        if not (0 <= self.score <= 1 and 0 <= self.overlap <= 1 and 0 < self.limit <= 10_000):
            raise ValueError("score and overlap must be 0 to 1 and limit 1 to 10,000")

    def __call__(self, value: Any, context: Context) -> list[Detection]:
        if not isinstance(value, Candidates):
            raise SpecificationError("step nms takes candidates; put boxes or grid_boxes before it")
        best, index = value.scores.max(axis=1), value.scores.argmax(axis=1)
        kept = np.flatnonzero(best >= self.score)
        kept = kept[np.argsort(-best[kept], kind="stable")]
        chosen = suppress(value.boxes[kept], index[kept], self.overlap, self.limit)
        found = []
        for i in kept[chosen]:
            number = int(index[i])
            box = _to_picture(value.boxes[i], context)
            found.append(Detection(label_of(number, context), number, float(best[i]), box))
        return found


def suppress(boxes: np.ndarray, classes: np.ndarray, overlap: float, limit: int) -> np.ndarray:
    """Indices of the boxes that stay; `boxes` (n, 4) must come best first."""
    area = np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)
    chosen: list[int] = []
    alive = np.arange(len(boxes))
    while alive.size and len(chosen) < limit:
        first, rest = alive[0], alive[1:]
        chosen.append(int(first))
        corner_low = np.maximum(boxes[first, :2], boxes[rest, :2])
        corner_high = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        shared = np.prod(np.clip(corner_high - corner_low, 0, None), axis=1)
        union = area[first] + area[rest] - shared
        iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        alive = rest[(iou <= overlap) | (classes[rest] != classes[first])]
    return np.array(chosen, dtype=int)


def _to_picture(box: np.ndarray, context: Context) -> tuple[float, float, float, float]:
    height, width = context.input_size
    scale_x, scale_y, left, top = context.mapping
    tall, wide = context.picture
    xs = np.clip((box[[0, 2]] * width - left) * scale_x, 0, wide or None)
    ys = np.clip((box[[1, 3]] * height - top) * scale_y, 0, tall or None)
    return float(xs[0]), float(ys[0]), float(xs[1]), float(ys[1])
