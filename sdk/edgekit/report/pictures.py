"""Sample pictures as thumbnails, with what the model made of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgekit.data import Sample
from edgekit.evaluate import Evaluation
from edgekit.golden import pick
from edgekit_runtime.specification.pictures import decode_picture

COUNT = 12
_SIDE = 144  # pixels of the longer side; shown at half of that, sharp on dense screens
_TINY = 64  # pictures up to here are kept as they are and shown with hard pixels
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class SamplePicture:
    """A picture and the answer.

    Attributes:
        name: Of the sample.
        truth: Its class.
        predicted: The class with the largest score.
        score: That score.
        image: ``data:`` address of the thumbnail.
        tiny: Whether it is shown with hard pixels.
    """

    name: str
    truth: str
    predicted: str
    score: float
    image: str = field(repr=False)
    tiny: bool = False

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.truth == self.predicted


def thumbnail(picture: np.ndarray) -> tuple[str, bool]:
    """(``data:`` address, whether tiny) of a decoded picture, (height, width, 3) uint8 RGB."""
    import cv2

    height, width = picture.shape[:2]
    tiny = max(height, width) <= _TINY
    if not tiny:
        scale = _SIDE / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return encoded(picture, "png" if tiny else "jpeg"), tiny


def encoded(picture: np.ndarray, kind: str) -> str:
    """``data:`` address of (height, width, 3) uint8 RGB as ``png`` or ``jpeg``."""
    import cv2

    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if kind == "jpeg" else []
    content = cv2.imencode(f".{kind}", bgr, options)[1].tobytes()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def sample_pictures(
    samples: Sequence[Sample], evaluation: Evaluation, labels: Sequence[str], count: int = COUNT
) -> tuple[SamplePicture, ...]:
    """Pictures spread over the classes, wrong answers first and at most half of them.

    Args:
        samples: The evaluated samples, in the order of `evaluation.scores`.
        evaluation: Of the variant that ships.
        labels: Class names.
        count: How many.

    Raises:
        EdgekitError: A picture cannot be read.
    """
    predicted, confidence = evaluation.predicted, evaluation.confidence
    wrong = [i for i, p in enumerate(predicted) if p != evaluation.targets[i]]
    right = [i for i, p in enumerate(predicted) if p == evaluation.targets[i]]
    chosen = pick(wrong, [evaluation.targets[i] for i in wrong], max(count // 2, count - len(right)))
    chosen += pick(right, [evaluation.targets[i] for i in right], count - len(chosen))
    found = []
    for i in chosen:
        image, tiny = thumbnail(decode_picture(samples[i].load()))
        truth, answer = labels[int(evaluation.targets[i])], labels[int(predicted[i])]
        found.append(SamplePicture(samples[i].id, truth, answer, float(confidence[i]), image, tiny))
    return tuple(found)
