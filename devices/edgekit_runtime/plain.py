"""Strict conversion between frozen dataclasses and plain JSON data.

The manifest and the specification are dataclasses; this module reads them from untrusted JSON and writes them back.
Reading is strict: a missing field, a wrong type, a number that is not finite is an error that names the place.
Unknown fields are ignored, so that a newer minor version stays readable.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union

from edgekit_runtime.errors import EdgekitError

T = TypeVar("T")

_UNIONS = (Union, getattr(types, "UnionType", Union))  # `X | None` has its own type from Python 3.10 on
_SCALARS = (bool, int, float, str)
_MAX_DEPTH = 32


class PlainDataError(EdgekitError):
    """JSON data does not have the form that is asked for."""


@functools.cache
def _fields(cls: type) -> tuple[tuple[str, Any, bool], ...]:
    """Name, resolved type and whether it is required, for each field of a dataclass."""
    hints = typing.get_type_hints(cls)
    return tuple(
        (
            f.name,
            hints[f.name],
            f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
        )
        for f in dataclasses.fields(cls)
        if f.init
    )


def decode(cls: type[T], data: object, where: str = "") -> T:
    """Read a dataclass from plain data.

    Args:
        cls: The dataclass to build. Field types may be scalars, ``Any``, ``Optional``, ``Literal``,
            ``tuple[X, ...]``, ``tuple[X, Y]``, ``Mapping[str, X]`` and further dataclasses.
        data: What ``json.loads`` returned.
        where: Name of the place, used in errors.

    Raises:
        PlainDataError: The data does not fit the type; the message names the place.
    """
    result = _decode(cls, data, where or cls.__name__, 0)
    assert isinstance(result, cls)  # noqa: S101 - narrows the type; _decode built it
    return result


def _decode(kind: Any, data: Any, where: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise PlainDataError(f"{where} is nested too deeply")
    if kind is Any:
        return _finite(data, where, depth)
    if dataclasses.is_dataclass(kind):
        if not isinstance(data, dict):
            raise PlainDataError(f"{where} must be an object, not {_name(data)}")
        values = {}
        for name, hint, required in _fields(kind):  # type: ignore[arg-type]
            if name in data:
                values[name] = _decode(hint, data[name], f"{where}.{name}", depth + 1)
            elif required:
                raise PlainDataError(f"{where}.{name} is missing")
        try:
            return kind(**values)  # type: ignore[operator]
        except (TypeError, ValueError) as error:
            raise PlainDataError(f"{where}: {error}") from error
    if kind in _SCALARS:
        return _scalar(kind, data, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        if data is None and type(None) in arguments:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        for candidate in kinds[:-1]:
            try:
                return _decode(candidate, data, where, depth + 1)
            except PlainDataError:
                continue
        return _decode(kinds[-1], data, where, depth + 1)
    if origin is typing.Literal:
        if data not in arguments or type(data) not in {type(a) for a in arguments}:
            raise PlainDataError(f"{where} must be one of {', '.join(map(str, arguments))}, not {data!r:.60}")
        return data
    if origin is tuple:
        if not isinstance(data, (list, tuple)):
            raise PlainDataError(f"{where} must be a list, not {_name(data)}")
        if arguments[-1] is not Ellipsis and len(data) != len(arguments):
            raise PlainDataError(f"{where} must have {len(arguments)} values, not {len(data)}")
        item_kinds = [arguments[0]] * len(data) if arguments[-1] is Ellipsis else list(arguments)
        return tuple(_decode(k, v, f"{where}[{i}]", depth + 1) for i, (k, v) in enumerate(zip(item_kinds, data)))
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(data, dict):
            raise PlainDataError(f"{where} must be an object, not {_name(data)}")
        return {str(k): _decode(arguments[1], v, f"{where}.{k}", depth + 1) for k, v in data.items()}
    raise TypeError(f"plain data cannot hold a field of type {kind!r}")


def _scalar(kind: type, data: Any, where: str) -> Any:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise PlainDataError(f"{where} is too large") from None
    if type(data) is not kind:
        raise PlainDataError(f"{where} must be {_WORDS[kind]}, not {_name(data)}")
    if kind is float and not math.isfinite(data):  # type: ignore[arg-type]
        raise PlainDataError(f"{where} must be finite, not {data}")
    return data


def _finite(data: Any, where: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise PlainDataError(f"{where} is nested too deeply")
    if isinstance(data, float) and not math.isfinite(data):
        raise PlainDataError(f"{where} must be finite, not {data}")
    if isinstance(data, dict):
        return {k: _finite(v, f"{where}.{k}", depth + 1) for k, v in data.items()}
    if isinstance(data, list):
        return [_finite(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(data)]
    return data


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


def _name(data: object) -> str:
    return "null" if data is None else type(data).__name__


def encode(value: Any) -> Any:
    """Turn a dataclass (or a container of them) into plain data for ``json.dumps``.

    Fields that hold their default are left out, so that manifests stay short and stable as fields are added.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: encode(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.init and not _is_default(f, getattr(value, f.name))
        }
    if isinstance(value, collections.abc.Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    return value


def _is_default(field: dataclasses.Field[Any], value: object) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(value == field.default)
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return False


Plain = Mapping[str, Any]
"""A JSON object."""
