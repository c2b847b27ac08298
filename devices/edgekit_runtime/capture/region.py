"""A part of the picture, and boxes in it back to the whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.pictures import decode_picture


class Region:
    """Left, top, width, height: in pixels, or as shares of the picture where none is over 1."""

    def __init__(self, region: tuple[float, float, float, float]) -> None:
        self._region = region

    def cut(self, raw: Any) -> tuple[np.ndarray, int, int]:
        """The part, and its left and top edge in pixels.

        Raises:
            SpecificationError: The sample is no picture, or the region lies outside it.
        """
        picture = decode_picture(raw)
        height, width = picture.shape[:2]
        left, top, wide, high = self._region
        if max(self._region) <= 1:
            left, top, wide, high = left * width, top * height, wide * width, high * height
        x, y = round(left), round(top)
        part = picture[y : round(top + high), x : round(left + wide)]
        if not part.size:
            raise SpecificationError(f"the region lies outside the picture of {width} x {height} pixels")
        return np.ascontiguousarray(part), x, y

    def back(self, answer: Any, left: int, top: int) -> Any:
        """The answer, with boxes in pixels of the whole picture."""
        if not isinstance(answer, list):
            return answer
        return [
            dataclasses.replace(a, box=(a.box[0] + left, a.box[1] + top, a.box[2] + left, a.box[3] + top))
            if hasattr(a, "box")
            else a
            for a in answer
        ]
