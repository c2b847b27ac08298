"""Arithmetic on arrays of any kind of sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.step import Context, Step

_DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64")
_MAX_CHANNELS = 65_536
_MAX_AXES = 8


def _array(value: Any, step: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise SpecificationError(f"step {step} takes an array, not {type(value).__name__}")
    if value.dtype.kind not in "biuf":
        raise SpecificationError(f"step {step} takes an array of numbers, not of {value.dtype}")
    return value


def _moderate(value: float) -> bool:
    """Whether a setting is a number that float32 holds with room to spare (NaN is not)."""
    return abs(value) <= 1e30


def _divisor(value: float) -> bool:
    return 1e-30 <= abs(value) <= 1e30


@dataclass(frozen=True)
class Scale(Step):
    """``value * factor + offset`` in float32.

    Attributes:
        factor: Multiplier.
        offset: Added afterwards.
    """

    name = "scale"
    pointwise = True
    factor: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not _divisor(self.factor) or not _moderate(self.offset):
            raise ValueError("factor and offset must be within 1e30, and factor not zero")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        return _array(value, self.name).astype(np.float32) * np.float32(self.factor) + np.float32(self.offset)


@dataclass(frozen=True)
class Normalize(Step):
    """``(value - mean) / std`` in float32, per channel; channels are the last axis.

    Attributes:
        mean: One value, or one per channel, in the unit of the value as it arrives: 0 to 255 for a decoded picture,
            0 to 1 after step ``scale`` with 1/255.
        std: Likewise; not zero.
    """

    name = "normalize"
    pointwise = True
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not (0 < len(self.mean) <= _MAX_CHANNELS and 0 < len(self.std) <= _MAX_CHANNELS):
            raise ValueError(f"mean and std need 1 to {_MAX_CHANNELS} values")
        if not all(_moderate(m) for m in self.mean) or not all(_divisor(s) for s in self.std):
            raise ValueError("mean and std must be within 1e30, and std not zero")

    @property
    def uniform(self) -> bool:
        return len(self.mean) == len(self.std) == 1

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        array = _array(value, self.name).astype(np.float32)
        for setting in (self.mean, self.std):
            if len(setting) not in (1, array.shape[-1] if array.ndim else 1):
                raise SpecificationError(
                    f"step normalize has settings for {len(setting)} channels, but its input is {array.shape}",
                    "channels are the last axis; put step layout after it",
                )
        return (array - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)


@dataclass(frozen=True)
class Cast(Step):
    """Another element type; whole numbers are rounded half to even and saturate.

    Attributes:
        dtype: numpy name.
    """

    name = "cast"
    pointwise = True
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, not {self.dtype!r:.40}")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        array, dtype = _array(value, self.name), np.dtype(self.dtype)
        if dtype.kind not in "iu" or array.dtype.kind == "b" or np.can_cast(array.dtype, dtype):
            return array.astype(dtype, copy=False)
        limits = np.iinfo(dtype)
        if array.dtype.kind != "f":
            given = np.iinfo(array.dtype)
            return array.clip(max(limits.min, given.min), min(limits.max, given.max)).astype(dtype)
        if np.isnan(array).any():
            raise SpecificationError(f"step cast cannot make {dtype} of what is not a number (NaN)")
        exact = np.rint(array.astype(np.float64))
        saturated = exact.clip(limits.min, np.nextafter(2.0**63, 0) if dtype == np.int64 else limits.max)
        return np.asarray(saturated.astype(dtype))


@dataclass(frozen=True)
class Layout(Step):
    """Axis order of a picture that arrives as height x width x channels.

    Attributes:
        order: ``hwc`` or ``chw``.
    """

    name = "layout"
    order: str = "hwc"

    def __post_init__(self) -> None:
        if self.order not in ("hwc", "chw"):
            raise ValueError(f"order must be hwc or chw, not {self.order!r:.40}")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        array = _array(value, self.name)
        if array.ndim != 3:
            raise SpecificationError(f"step layout takes height x width x channels, not {array.shape}")
        return np.ascontiguousarray(array.transpose(2, 0, 1)) if self.order == "chw" else array


@dataclass(frozen=True)
class Reshape(Step):
    """Another shape of the same number of elements.

    Attributes:
        shape: Without batch axis; one extent may be -1.
    """

    name = "reshape"
    shape: tuple[int, ...] = (-1,)

    def __post_init__(self) -> None:
        if len(self.shape) > _MAX_AXES or any(e == 0 or e < -1 for e in self.shape) or self.shape.count(-1) > 1:
            raise ValueError(f"shape must be up to {_MAX_AXES} positive extents, one of which may be -1")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        array = _array(value, self.name)
        try:
            return array.reshape(self.shape)
        except ValueError:
            raise SpecificationError(f"step reshape cannot make {self.shape} of {array.shape}") from None
