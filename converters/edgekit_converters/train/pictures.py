"""Pictures for training: decoded once where memory allows, varied while raw, then prepared by the device's code."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


class Pictures:
    """The pictures of some examples, those that cannot be decoded left out and named.

    Args:
        examples: What to look through.
        watch: Hears of what was left out.
        what: What they are for, for messages.
        kept_bytes: How much may be kept in memory.

    Attributes:
        examples: Those that can be used.

    Raises:
        TrainingError: More than a tenth of them is broken.
    """

    def __init__(
        self, examples: Sequence[Example], watch: Watch, what: str = "training", kept_bytes: int = KEPT_BYTES
    ) -> None:
        self.examples: list[Example] = []
        self._kept: list[np.ndarray] = []
        broken: list[str] = []
        room = kept_bytes
        with ThreadPoolExecutor(2) as pool:
            for example, picture in zip(examples, pool.map(_decoded, examples), strict=True):
                if isinstance(picture, str):
                    broken.append(f"{example.id} ({picture})")
                    continue
                self.examples.append(example)
                room -= picture.nbytes
                if room >= 0:
                    self._kept.append(picture)
        if broken:
            said = (
                f"{len(broken)} of {len(examples)} {what} pictures cannot be decoded, as {'; '.join(broken[:_NAMED])}"
            )
            if len(broken) > _BROKEN_SHARE * len(examples):
                raise TrainingError(said, "look at where they are from")
            watch.say(f"{said}; left out")

    def __getitem__(self, index: int) -> np.ndarray:
        """Decoded, uint8 (height, width, 3), upright."""
        if index < len(self._kept):
            return self._kept[index]
        return decode_picture(self.examples[index].load())


def _decoded(example: Example) -> np.ndarray | str:
    """The picture, or what is wrong with it."""
    try:
        return decode_picture(example.load())
    except EdgekitError as error:
        return error.message


def classified(pictures: Pictures, specification: Specification, variation: Variation | None) -> Any:
    """``Stock.make`` for pictures of one class each: the specification's own steps on the varied raw picture."""

    def make(index: int, random: np.random.Generator | None) -> tuple[np.ndarray, np.int64]:
        picture = pictures[index]
        if random is not None and variation is not None:
            picture = variation(picture, random)
        return np.asarray(specification.preprocess(picture, Context())), np.int64(pictures.examples[index].label or 0)

    return make
