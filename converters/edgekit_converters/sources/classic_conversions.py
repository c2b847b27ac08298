"""Formats that classic models become."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted
from edgekit_converters.source import Conversion, Source
from edgekit_converters.sources.classic import ClassicSource


def to_c(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """Plain C code, compiled for every machine whose compiler is here."""
    from edgekit_converters.plaincode.artefact import write_code

    assert isinstance(source, ClassicSource)  # noqa: S101 - these rows of the table make them
    return write_code(source, folder, limits)


def to_onnx(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """By skl2onnx and onnxmltools."""
    from edgekit_converters.sources.classic_onnx import write_onnx

    assert isinstance(source, ClassicSource)  # noqa: S101 - as above
    return write_onnx(source, folder, limits)


CONVERSIONS: Mapping[str, Conversion] = {"c": to_c, "onnx": to_onnx}
