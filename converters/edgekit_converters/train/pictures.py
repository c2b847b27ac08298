"""Pictures for training: decoded once where memory allows, varied while raw, then prepared by the device's code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit_converters.errors import TrainingError
from edgekit_converters.train.material import Example
from edgekit_converters.train.trainer import Watch
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.pictures import decode_picture
from edgekit_runtime.specification.step import Context

KEPT_BYTES = 600_000_000
"""Decoded pictures up to this many bytes are kept in memory; beyond it they are decoded in every epoch."""

_BROKEN_SHARE = 0.1  # more of them are no accident
_NAMED = 3


@dataclass(frozen=True)
class Variation:
    """How a picture may differ from itself and still show the same.

    Attributes:
        least: Smallest share of the picture's area that a cut leaves.
        aspect: Largest change of the cut's aspect, as a factor.
        flip: Whether left and right may be exchanged.
        light: Largest change of brightness and of contrast, as a share.
    """

    least: float = 0.6
    aspect: float = 4 / 3
    flip: bool = True
    light: float = 0.25

    def __call__(self, picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A picture, uint8 (height, width, 3), varied."""
        top, left, height, width = self._cut(picture.shape[0], picture.shape[1], random)
        picture = picture[top : top + height, left : left + width]
        if self.flip and random.random() < 0.5:
            picture = picture[:, ::-1]
        if self.light:
            picture = self._lit(picture, random)
        return np.ascontiguousarray(picture)

    def boxed(
        self, picture: np.ndarray, boxes: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A picture and its boxes, (n, 5) left, top, right, bottom, class, varied together.

        Boxes are cut at the new edges; those whose centre is cut off go.
        """
        top, left, height, width = self._cut(picture.shape[0], picture.shape[1], random)
        picture, boxes = picture[top : top + height, left : left + width], boxes.copy()
        boxes[:, [0, 2]] -= left
        boxes[:, [1, 3]] -= top
        centre_x, centre_y = boxes[:, [0, 2]].mean(1), boxes[:, [1, 3]].mean(1)
        boxes = boxes[(centre_x > 0) & (centre_x < width) & (centre_y > 0) & (centre_y < height)]
        boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, width)
        boxes[:, [1, 3]] = boxes[:, [1, 3]].clip(0, height)
        if self.flip and random.random() < 0.5:
            picture = picture[:, ::-1]
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        return np.ascontiguousarray(self._lit(picture, random) if self.light else picture), boxes

    def _cut(self, height: int, width: int, random: np.random.Generator) -> tuple[int, int, int, int]:
        share = random.uniform(self.least, 1)
        stretch = math.sqrt(math.exp(random.uniform(-math.log(self.aspect), math.log(self.aspect))))
        tall = min(height, max(1, round(height * math.sqrt(share) * stretch)))
        wide = min(width, max(1, round(width * math.sqrt(share) / stretch)))
        return int(random.integers(height - tall + 1)), int(random.integers(width - wide + 1)), tall, wide

    def _lit(self, picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """By a table of 256 levels: brightness as a factor, contrast about the middle grey."""
        bright, contrast = 1 + random.uniform(-self.light, self.light, 2)
        levels = (np.arange(256) * bright - 127.5) * contrast + 127.5
        return np.asarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8)[picture])


class Decoded:
    """Raw samples of some examples, decoded; those that cannot be are left out and named.

    Args:
        examples: What to look through.
        decode: What `Example.load` gives to an array; raises EdgekitError for what is broken.
        watch: Hears of what was left out.
        what: What they are, for messages.
        kept_bytes: How much may be kept in memory.

    Attributes:
        examples: Those that can be used.

    Raises:
        TrainingError: More than a tenth of them is broken.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        decode: Callable[[Any], np.ndarray],
        watch: Watch,
        what: str,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.examples: list[Example] = []
        self._decode = decode
        self._kept: list[np.ndarray] = []
        broken: list[str] = []
        room = kept_bytes
        with ThreadPoolExecutor(2) as pool:
            for example, array in zip(examples, pool.map(self._try, examples), strict=True):
                if isinstance(array, str):
                    broken.append(f"{example.id} ({array})")
                    continue
                self.examples.append(example)
                room -= array.nbytes
                if room >= 0:
                    self._kept.append(array)
        if broken:
            named = "; ".join(broken[:_NAMED])
            said = f"{len(broken)} of {len(examples)} {what} cannot be used, as {named}"
            if len(broken) > _BROKEN_SHARE * len(examples):
                raise TrainingError(said, "look at where they are from")
            watch.say(f"{said}; left out")

    def _try(self, example: Example) -> np.ndarray | str:
        """The array, or what is wrong with it."""
        try:
            return self._decode(example.load())
        except EdgekitError as error:
            return error.message

    def __getitem__(self, index: int) -> np.ndarray:
        """The sample, decoded: uint8 (height, width, 3) and upright, or a waveform."""
        return self._kept[index] if index < len(self._kept) else self._decode(self.examples[index].load())


class Pictures(Decoded):
    """Pictures, uint8 (height, width, 3), upright."""

    def __init__(self, examples: Sequence[Example], watch: Watch, what: str = "training") -> None:
        super().__init__(examples, decode_picture, watch, f"{what} pictures")


def classified(pictures: Pictures, specification: Specification, variation: Variation | None) -> Any:
    """``Stock.make`` for pictures of one class each: the specification's own steps on the varied raw picture."""

    def make(index: int, random: np.random.Generator | None) -> tuple[np.ndarray, np.int64]:
        picture = pictures[index]
        if random is not None and variation is not None:
            picture = variation(picture, random)
        return np.asarray(specification.preprocess(picture, Context())), np.int64(pictures.examples[index].label or 0)

    return make
