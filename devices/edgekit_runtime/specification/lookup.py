"""Fusing pointwise steps on uint8 pictures into one table look-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.array import Layout
from edgekit_runtime.specification.step import Context, Step

_MAX_CHANNELS = 4
_OPENCV_DTYPES = (np.float32, np.uint8, np.int8)


@dataclass(frozen=True)
class Quantize(Step):
    """``clip(round_half_even(x / scale) + zero_point)``, as a variant's input binding asks for.

    Not a step of specifications, which end at the model's float input; fused behind them where a variant's file takes
    whole numbers. The same arithmetic as `edgekit_runtime.binding.feeder`: a float32 product with ``1 / scale``.

    Attributes:
        scale: Quantization step.
        zero_point: Whole number that stands for 0.
        dtype: ``int8`` or ``uint8``.
    """

    name = "quantize"
    pointwise = True
    scale: float = 1.0
    zero_point: int = 0
    dtype: str = "int8"

    def __post_init__(self) -> None:
        if not (self.scale > 0 and math.isfinite(1 / self.scale)) or self.dtype not in ("int8", "uint8"):
            raise ValueError(f"cannot quantize to {self.dtype!r:.40} by steps of {self.scale}")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        if not isinstance(value, np.ndarray):
            raise SpecificationError(f"an array is needed to quantize it, not {type(value).__name__}")
        limits = np.iinfo(self.dtype)
        scaled = np.rint(value * np.float32(1.0 / self.scale)) + np.float32(self.zero_point)
        if np.isnan(scaled).any():
            raise SpecificationError("the picture holds NaN, for which the quantized model has no number")
        return np.clip(scaled, limits.min, limits.max).astype(self.dtype)


class Lookup:
    """Steps whose result depends on each pixel value and its channel alone, as a table of 256 entries per channel.

    The table is made by running the steps themselves on every pixel value, so the result is bit-identical to them.
    A change of layout among them is made last, which moves the smallest elements.
    Anything but a uint8 picture goes through the steps one by one.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)
        self._pointwise = tuple(s for s in steps if s.pointwise)
        self._chw = any(isinstance(s, Layout) and s.order == "chw" for s in steps)
        self._tables: dict[int, np.ndarray] = {}

    def __call__(self, value: Any, context: Context) -> Any:
        if (
            not isinstance(value, np.ndarray)
            or value.dtype != np.uint8
            or value.ndim != 3
            or not 0 < value.shape[2] <= _MAX_CHANNELS
        ):
            for step in self.steps:
                value = step(value, context)
            return value
        channels = value.shape[2]
        table = self._tables.get(channels)
        if table is None:
            table = self._tables[channels] = self._table(channels, context)
        return _look_up(value, table, self._chw)

    def _table(self, channels: int, context: Context) -> np.ndarray:
        """(channels, 256): what the steps make of each value of each channel."""
        ramp: Any = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], channels, axis=2)
        for step in self._pointwise:
            ramp = step(ramp, context)
        return np.ascontiguousarray(ramp[:, 0].T)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def _look_up(picture: np.ndarray, table: np.ndarray, chw: bool) -> np.ndarray:
    height, width, channels = picture.shape
    cv2 = _opencv() if table.dtype in _OPENCV_DTYPES else None
    if channels == 1:
        flat = picture.reshape(height, width)
        found = cv2.LUT(flat, table[0]) if cv2 else table[0].take(flat)
        return np.asarray(found).reshape((1, height, width) if chw else (height, width, 1))
    if not chw:
        if cv2:
            return np.asarray(cv2.LUT(picture, np.ascontiguousarray(table.T)[:, None]))
        result = np.empty(picture.shape, table.dtype)
        for channel in range(channels):
            result[..., channel] = table[channel].take(picture[..., channel])
        return result
    result = np.empty((channels, height, width), table.dtype)
    planes = cv2.split(picture) if cv2 else picture.transpose(2, 0, 1)
    for plane, row, into in zip(planes, table, result):
        if cv2:
            cv2.LUT(plane, row, into)
        else:
            row.take(plane, out=into, mode="clip")
    return result


def fuse(steps: Sequence[Step]) -> tuple[Callable[[Any, Context], Any], ...]:
    """Replace each run of pointwise and layout steps by one `Lookup`."""
    fused: list[Callable[[Any, Context], Any]] = []
    run: list[Step] = []

    def close() -> None:
        if any(s.pointwise for s in run):
            fused.append(Lookup(run))
        else:
            fused.extend(run)
        run.clear()

    for step in steps:
        turned = any(isinstance(s, Layout) for s in run)
        if isinstance(step, Layout):
            if turned:
                close()
            run.append(step)
        elif step.pointwise:
            if turned and not step.uniform:  # channels are no longer the last axis
                close()
            run.append(step)
        else:
            close()
            fused.append(step)
    close()
    return tuple(fused)
