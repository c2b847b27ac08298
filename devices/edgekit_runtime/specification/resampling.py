"""Resizing pictures: OpenCV where it is installed, else numpy with results within one grey level of OpenCV's.

All use half-pixel centres and no anti-aliasing but for ``area``, as OpenCV documents its interpolation flags.
Bilinear and nearest resizing of uint8 pictures is bit-equal everywhere, with and without OpenCV: INTER_LINEAR is not
(up to one grey level in a fifth of the pixels between x86-64 and arm64, which a float model shows),
INTER_LINEAR_EXACT is. Anti-aliased resizing (Pillow's, torchvision's and ``tf.image.resize(antialias=True)``'s) is
always numpy, since OpenCV has none.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from edgekit_runtime.errors import SpecificationError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area")
_CUBIC = -0.75  # OpenCV's cubic coefficient
_CUBIC_ANTIALIAS = -0.5  # Pillow's, torch's and TensorFlow's


def resize(picture: np.ndarray, height: int, width: int, interpolation: str, *, antialias: bool = False) -> np.ndarray:
    """A picture, (height, width, channels) or (height, width), uint8 or float32, in another size and the same dtype.

    Args:
        picture: What to resize.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        interpolation: One of `INTERPOLATIONS`.
        antialias: Widen the filter of ``bilinear`` and ``bicubic`` by the factor of reduction.

    Raises:
        SpecificationError: OpenCV refuses the picture (extents beyond its 16 bits, for one).
    """
    if picture.shape[:2] == (height, width):
        return picture
    if antialias:
        return _weighted(picture, height, width, interpolation, antialias)
    try:
        import cv2
    except ImportError:
        return resize_by_numpy(picture, height, width, interpolation)
    flag = {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR_EXACT if picture.dtype == np.uint8 else cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
    }[interpolation]
    try:
        resized = np.asarray(cv2.resize(picture, (width, height), interpolation=flag))
    except cv2.error as error:
        sizes = f"{picture.shape[1]} x {picture.shape[0]} to {width} x {height}"
        raise SpecificationError(f"OpenCV cannot resize the picture from {sizes}") from error
    return np.reshape(resized, (height, width, *picture.shape[2:]))


def resize_by_numpy(picture: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """`resize` without OpenCV."""
    if interpolation == "nearest":
        rows, columns = _nearest(picture.shape[0], height), _nearest(picture.shape[1], width)
        return np.ascontiguousarray(picture[rows][:, columns])
    if interpolation == "bilinear" and picture.dtype == np.uint8:
        return _bilinear_exact(picture, height, width)
    return _weighted(picture, height, width, interpolation, antialias=False)


def _nearest(old: int, new: int) -> np.ndarray:
    """Old pixel below each new one; OpenCV's step is the reciprocal of a ratio, which decides where both coincide."""
    return np.asarray(np.minimum(np.floor(np.arange(new) * (1 / (new / old))).astype(np.intp), old - 1))


def _bilinear_exact(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """OpenCV's INTER_LINEAR_EXACT: fixed point with 8 fractional bits per axis, rounded once at the end."""
    above, below, part = (a.reshape(-1, *[1] * (picture.ndim - 1)) for a in _between(picture.shape[0], height))
    top, bottom = picture[above.ravel()], picture[below.ravel()]
    share = part.astype(np.uint16)  # 255 * 256 fits
    lines = np.multiply(top, 256 - share, dtype=np.uint16)
    lines += np.multiply(bottom, share, dtype=np.uint16)
    left, right, part = _between(picture.shape[1], width)
    part = part.reshape(-1, *[1] * (picture.ndim - 2))
    result = np.multiply(lines[:, left], 256 - part, dtype=np.uint32)
    result += np.multiply(lines[:, right], part, dtype=np.uint32)
    result += np.uint32(0x8000)
    result >>= np.uint32(16)
    return np.asarray(result, np.uint8)


@functools.lru_cache(maxsize=32)
def _between(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new pixel the two old ones it lies between, and the second one's share in 256ths."""
    centre = (np.arange(new) + 0.5) * (old / new) - 0.5
    base = np.floor(centre).astype(np.int64)
    share = np.rint((centre - base) * 256).astype(np.uint32)
    share[(base < 0) | (base >= old - 1)] = 0
    base = np.clip(base, 0, old - 1)
    return base, np.minimum(base + 1, old - 1), share


def _weighted(picture: np.ndarray, height: int, width: int, interpolation: str, antialias: bool) -> np.ndarray:
    """Weighted sums along columns and rows, in float32 and in an order that is the same on every machine."""
    channels = picture.reshape(*picture.shape[:2], -1)
    if interpolation == "area" and (height > picture.shape[0] or width > picture.shape[1]):
        interpolation = "area-linear"  # where one axis grows, OpenCV takes both by its other rule
    if antialias:  # Pillow resizes along the width first, and rounds between
        turned = _along(channels.transpose(1, 0, 2), width, interpolation, antialias)
        result = _along(_rounded(turned, picture.dtype).transpose(1, 0, 2), height, interpolation, antialias)
    else:
        turned = _along(channels, height, interpolation, antialias).transpose(1, 0, 2)
        result = _along(turned, width, interpolation, antialias).transpose(1, 0, 2)
    return np.ascontiguousarray(_rounded(result, picture.dtype)).reshape(height, width, *picture.shape[2:])


def _rounded(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype) if dtype == np.uint8 else values


def _along(values: np.ndarray, new: int, interpolation: str, antialias: bool) -> np.ndarray:
    """Weighted sums along the first axis; no BLAS, whose order of summing differs between machines."""
    places, weights = _taps(values.shape[0], new, interpolation, antialias)
    flat = values.reshape(values.shape[0], -1).astype(np.float32)
    total = np.zeros((new, flat.shape[1]), np.float32)
    part = np.empty_like(total)
    for place, weight in zip(places, weights):  # one tap of every new pixel at a time
        np.take(flat, place, axis=0, out=part, mode="clip")
        part *= weight[:, None]
        total += part
    return total.reshape(new, *values.shape[1:])


@functools.lru_cache(maxsize=32)
def _taps(old: int, new: int, interpolation: str, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights, each (taps, new): which old pixels go into a new one, and with how much."""
    scale, rows = old / new, np.arange(new)
    if interpolation == "area":
        low, high = rows * scale, (rows + 1) * scale
        places = np.floor(low).astype(np.intp) + np.arange(int(np.ceil(scale)) + 1)[:, None]
        weights = (np.minimum(high, places + 1) - np.maximum(low, places)).clip(0) / scale
    elif interpolation == "area-linear":  # bilinear with a phase of its own
        base = _nearest(old, new)
        share = ((rows + 1) - (base + 1) * (new / old)).astype(np.float32).clip(0)
        share -= np.floor(share)
        places, weights = base + np.array([[0], [1]]), np.stack([1 - share, share])
    else:
        wide = max(scale, 1.0) if antialias else 1.0
        reach = (2 if interpolation == "bicubic" else 1) * wide
        centre = (rows + 0.5) * scale - 0.5
        places = np.floor(centre - reach).astype(np.intp) + np.arange(1, int(np.ceil(2 * reach)) + 1)[:, None]
        distance = np.abs(places - centre) / wide
        if interpolation == "bicubic":
            weights = _cubic(distance, _CUBIC_ANTIALIAS if antialias else _CUBIC)
        else:
            weights = (1 - distance).clip(0)
        if antialias:  # the filter is cut off at the border and what is left weighs 1
            weights = np.where((places >= 0) & (places < old), weights, 0)
        weights = weights / weights.sum(axis=0)
    return places.clip(0, old - 1), weights.astype(np.float32)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
