"""Pictures with exact boxes: real handwritten digits (scikit-learn's) set into scenes, in COCO's form.

For trying out detectors without a download: nobody has to trust an annotator, and a minute of training shows whether a
change helps.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

_SHARE = {"train": 0.8, "val": 0.1, "test": 0.1}
_TRIES = 20


def compose(folder: Path, count: int = 400, size: int = 96, seed: int = 0, most: int = 3) -> None:
    """Write scenes as PNG files and COCO annotations, in the splits ``train``, ``val`` and ``test``.

    A digit is in one split only. Digits are 16 to 40 pixels high, in any colour on any ground, and do not touch.

    Args:
        folder: Where to; it is made.
        count: How many scenes in all.
        size: Side in pixels.
        seed: Of all that is random.
        most: Digits in a scene at most; at least one.
    """
    import cv2
    from sklearn.datasets import load_digits

    digits = load_digits()
    random = np.random.default_rng(seed)
    order = random.permutation(len(digits.images))
    begin = 0
    for split, share in _SHARE.items():
        end = begin + round(share * len(order))
        mine = order[begin:end]
        begin = end
        place = folder / split
        place.mkdir(parents=True, exist_ok=True)
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        for number in range(round(share * count)):
            name = f"{split}-{number:04d}.png"
            picture, boxes = _scene(digits, mine, size, most, random)
            cv2.imwrite(str(place / name), picture)
            images.append({"id": number, "file_name": name, "width": size, "height": size})
            for digit, (left, top, right, bottom) in boxes:
                annotations.append({
                    "id": len(annotations) + 1, "image_id": number, "category_id": digit,
                    "bbox": [left, top, right - left, bottom - top], "iscrowd": 0,
                    "area": (right - left) * (bottom - top),
                })  # fmt: skip
        categories = [{"id": i, "name": str(i)} for i in range(10)]
        text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
        (place / "_annotations.coco.json").write_text(text, "utf-8")


Boxes = list[tuple[int, tuple[int, int, int, int]]]


def _scene(
    digits: object, mine: np.ndarray, size: int, most: int, random: np.random.Generator
) -> tuple[np.ndarray, Boxes]:
    import cv2

    ground = random.uniform(0, 110, 3)
    slope = np.linspace(-1, 1, size)[:, None, None] * random.uniform(-30, 30, 3)
    picture = np.clip(ground + slope + random.normal(0, 6, (size, size, 3)), 0, 255)
    boxes: Boxes = []
    for _ in range(int(random.integers(1, most + 1))):
        which = int(random.choice(mine))
        ink = digits.images[which] / 16.0  # type: ignore[attr-defined]  # scikit-learn is untyped
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        tall = int(random.integers(16, 41))
        wide = max(6, round(tall * ink.shape[1] / ink.shape[0]))
        drawn = np.clip(cv2.resize(ink, (wide, tall), interpolation=cv2.INTER_LINEAR), 0, 1)[..., None]
        for _ in range(_TRIES):
            left, top = int(random.integers(size - wide + 1)), int(random.integers(size - tall + 1))
            box = (left, top, left + wide, top + tall)
            if all(_apart(box, other) for _, other in boxes):
                area = picture[top : top + tall, left : left + wide]
                area[:] = area * (1 - drawn) + random.uniform(150, 255, 3) * drawn
                boxes.append((int(digits.target[which]), box))  # type: ignore[attr-defined]
                break
    return picture.astype(np.uint8), boxes


def _apart(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
