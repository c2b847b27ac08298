"""Where source kinds and passes are found: lazy tables, and entry points for packages outside.

Entry-point groups: ``edgekit.sources`` names `SourceKind` objects, ``edgekit.passes`` names `Pass` classes.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from edgekit_converters.errors import NoConversion, SourceError, UsageError
from edgekit_converters.recipe import Pass
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest

SOURCES = {
    "torch": "edgekit_converters.sources.torch:KIND",
    "keras": "edgekit_converters.sources.keras:KIND",
    "keras-legacy": "edgekit_converters.sources.keras:LEGACY",
    "onnx": "edgekit_converters.sources.onnx:KIND",
    "tflite": "edgekit_converters.sources.tflite:KIND",
    "sklearn": "edgekit_converters.sources.sklearn:KIND",
    "xgboost": "edgekit_converters.sources.xgboost:KIND",
    "lightgbm": "edgekit_converters.sources.lightgbm:KIND",
    "bundle": "edgekit_converters.sources.bundle:KIND",
    "huggingface": "edgekit_converters.sources.huggingface:KIND",
}
FORMATS = ("onnx", "tflite", "c")
PASSES = {
    "onnx-int8": "edgekit_converters.passes.onnx_static:OnnxInt8",
    "onnx-w8a16": "edgekit_converters.passes.onnx_static:OnnxW8A16",
    "onnx-dynamic": "edgekit_converters.passes.onnx_dynamic:OnnxDynamic",
    "onnx-fp16": "edgekit_converters.passes.onnx_fp16:OnnxFp16",
    "onnx-w8": "edgekit_converters.passes.onnx_weights:OnnxW8",
    "onnx-w4": "edgekit_converters.passes.onnx_weights:OnnxW4",
    "tflite-int8": "edgekit_converters.passes.tflite:TfliteInt8",
    "tflite-w8a16": "edgekit_converters.passes.tflite:TfliteW8A16",
    "tflite-dynamic": "edgekit_converters.passes.tflite:TfliteDynamic",
    "tflite-fp16": "edgekit_converters.passes.tflite:TfliteFp16",
    "tflite-w8": "edgekit_converters.passes.tflite_weights:TfliteW8",
    "tflite-w4": "edgekit_converters.passes.tflite_weights:TfliteW4",
}
WAYS_ROUND = {
    ("onnx", "tflite"): "export the original PyTorch or Keras model instead, or give a .tflite file",
    ("sklearn", "tflite"): "take --format c or onnx: TFLite has no trees",
}


def _load(location: str) -> Any:
    module, attribute = location.split(":")
    return getattr(importlib.import_module(module), attribute)


def source_kinds() -> dict[str, SourceKind]:
    """Every registered source kind by name."""
    table = dict(SOURCES)
    table.update({e.name: e.value for e in entry_points(group="edgekit.sources")})
    return {name: _load(location) for name, location in table.items()}


def load_source(request: SourceRequest, framework: str | None = None) -> Source:
    """Load a model with the first kind that claims it.

    Raises:
        UsageError: No kind claims it.
        SourceError: It cannot be loaded.
    """
    kinds = source_kinds()
    if framework is not None:
        if framework not in kinds:
            raise UsageError(f"there is no source kind {framework!r}", f"there are {', '.join(kinds)}")
        return kinds[framework].load(request)
    for kind in kinds.values():
        if kind.claims(request):
            return kind.load(request)
    if ":" not in request.model and not Path(request.model).exists():
        raise SourceError(f"there is no file {request.model}")
    raise UsageError(
        f"cannot tell what kind of model {request.model!r} is",
        "give .keras, .h5, a SavedModel folder, .onnx, .tflite, .pt2, file.py:factory, .edgekit, a Hugging Face "
        "folder, .joblib, .pkl, .skops, XGBoost's .json or .ubj, or LightGBM's .txt",
    )


def conversion(framework: str, format: str) -> Conversion:
    """The function that lowers a framework's models to a format.

    Raises:
        NoConversion: That cell of the table is empty; names the ways round it.
    """
    row = source_kinds()[framework].conversions()
    if format not in row:
        have = ", ".join(row) or "nothing"
        raise NoConversion(
            f"a {framework} model cannot be turned into {format}",
            WAYS_ROUND.get((framework, format), f"from {framework} edgekit makes {have}"),
        )
    return row[format]


def matrix() -> dict[str, dict[str, bool]]:
    """The source × format table: which source kind can be lowered to which format."""
    return {name: {f: f in kind.conversions() for f in FORMATS} for name, kind in source_kinds().items()}


def _passes() -> dict[str, str]:
    return {**PASSES, **{e.name: e.value for e in entry_points(group="edgekit.passes")}}


def pass_names() -> tuple[str, ...]:
    """Every registered pass, ours first."""
    return tuple(_passes())


def pass_class(name: str) -> type[Pass]:
    """The class of a pass.

    Raises:
        UsageError: There is none of that name.
    """
    table = _passes()
    if name not in table:
        raise UsageError(f"there is no pass {name!r}", f"there are {', '.join(sorted(table))}")
    found: type[Pass] = _load(table[name])
    return found
