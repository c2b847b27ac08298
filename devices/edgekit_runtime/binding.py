"""Between the model's tensors and one variant's file: transpose and quantize in, dequantize and transpose out."""

from __future__ import annotations

from typing import Callable

import numpy as np

from edgekit_runtime.backends import FileTensor
from edgekit_runtime.errors import BackendError
from edgekit_runtime.manifest import Binding, TensorInfo

Convert = Callable[[np.ndarray], np.ndarray]


def _dtype(name: str) -> np.dtype:
    return np.dtype(object if name == "string" else name)


def _check(info: TensorInfo, binding: Binding, found: FileTensor, side: str) -> None:
    """The manifest must say of the file what the file says of itself, and agree with itself."""
    if binding.dtype != found.dtype or not _fit(binding.shape, found.shape):
        raise BackendError(
            f"{side} {binding.name!r} is {found.dtype} {found.shape} in the file, "
            f"not {binding.dtype} {binding.shape} as the manifest states"
        )
    if binding.scale > 0 and np.dtype(binding.dtype).kind not in "iu":
        raise BackendError(f"{side} {binding.name!r} is {binding.dtype} in the file and cannot have a scale")
    if not binding.shape:  # a scalar, or onnxruntime does not know the number of axes
        return
    order = binding.transpose or tuple(range(len(info.shape)))
    if len(info.shape) != len(binding.shape) or not _fit(tuple(info.shape[i] for i in order), binding.shape):
        raise BackendError(
            f"{side} {info.name!r} has shape {info.shape}, which does not become {binding.shape} in the file"
        )


def _fit(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(a == b or -1 in (a, b) for a, b in zip(one, other))


def feeder(info: TensorInfo, binding: Binding, found: FileTensor) -> Convert:
    """How one input of the model (with batch axis) becomes the file's array.

    Whole-number inputs are ``clip(round_half_even(x / scale) + zero_point)``, as XNNPACK and numpy round. The model's
    values are quantized whatever type they come in: a uint8 picture is 0 to 255 to a float model, whatever its file
    holds.

    Raises:
        BackendError: The file does not have the tensor that the manifest states.
    """
    _check(info, binding, found, "input")
    dtype = _dtype(binding.dtype)
    expected, transpose = info.shape, binding.transpose
    rank, tail = len(expected), tuple((place, want) for place, want in enumerate(expected) if place and want != -1)
    quantized = binding.scale > 0
    limits = np.iinfo(dtype) if quantized else None
    zero = np.float32(binding.zero_point)
    inverse = np.float32(1.0 / binding.scale) if quantized else np.float32(0)

    def feed(value: np.ndarray) -> np.ndarray:
        shape = value.shape
        if len(shape) != rank or any(shape[place] != want for place, want in tail):
            raise BackendError(f"input {info.name!r} takes shape {expected}, not {shape}")
        if transpose:
            value = value.transpose(transpose)
        if limits is not None:
            scaled = np.rint(value * inverse) + zero
            if np.isnan(scaled).any():
                raise BackendError(f"input {info.name!r} holds NaN, for which the quantized model has no number")
            value = np.clip(scaled, limits.min, limits.max)
        try:
            return np.ascontiguousarray(value, dtype=dtype)
        except (TypeError, ValueError) as error:
            raise BackendError(f"input {info.name!r} takes {info.dtype}, not {value.dtype} ({error})") from error

    return feed


def fetcher(info: TensorInfo, binding: Binding, found: FileTensor) -> Convert:
    """How one output of the file becomes the model's array, float32 where the file has whole numbers for them.

    Raises:
        BackendError: The file does not have the tensor that the manifest states.
    """
    _check(info, binding, found, "output")
    inverse = tuple(int(i) for i in np.argsort(binding.transpose)) if binding.transpose else ()
    scale, zero = np.float32(binding.scale), np.float32(binding.zero_point)
    dtype = _dtype(info.dtype)
    quantized = binding.scale > 0

    def fetch(value: np.ndarray) -> np.ndarray:
        if quantized:
            value = (value.astype(np.float32) - zero) * scale
        if inverse:
            value = value.transpose(inverse)
        return value if value.dtype == dtype else value.astype(dtype)

    return fetch
