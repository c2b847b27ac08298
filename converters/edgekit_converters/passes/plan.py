"""From a precision to a recipe, and a recipe applied."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit_converters.errors import UsageError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted, Pass, PassContext
from edgekit_converters.registry import FORMATS, pass_class, pass_names
from edgekit_runtime.plain import PlainDataError, decode

PRECISIONS = ("fp32", "fp16", "dynamic", "int8", "w8a16", "w8", "w4", "fp64", "int32", "auto")
# As typed to Ultralytics (half, int8=True), optimum (int8-dynamic, int8x16), TensorFlow (16x8), torchao (w8a8), …
_PRECISION_WORDS = {
    "64": "fp64", "double": "fp64", "float64": "fp64", "f64": "fp64", "exact": "fp64", "fixed": "int32",
    "32": "fp32", "float": "fp32", "float32": "fp32", "f32": "fp32", "full": "fp32", "none": "fp32", "no": "fp32",
    "false": "fp32", "int8=false": "fp32", "half=false": "fp32",
    "16": "fp16", "half": "fp16", "float16": "fp16", "f16": "fp16", "half=true": "fp16", "fp16=true": "fp16",
    "8": "int8", "i8": "int8", "w8a8": "int8", "int8=true": "int8", "true": "int8", "static": "int8", "qdq": "int8",
    "int8-static": "int8", "static-int8": "int8", "full-integer": "int8", "int8x8": "int8",
    "16x8": "w8a16", "int8x16": "w8a16", "int16x8": "w8a16", "a16w8": "w8a16",
    "4": "w4", "i4": "w4", "int4": "w4", "w4a16": "w4", "w4a32": "w4", "int4-weight-only": "w4", "q4": "w4",
    "weight-only": "w8", "int8-weight-only": "w8", "w8a32-weight-only": "w8", "q8": "w8",
    "dynamic-int8": "dynamic", "int8-dynamic": "dynamic", "dynamic-range": "dynamic", "w8a32": "dynamic",
}  # fmt: skip
_FORMAT_WORDS = {
    "litert": "tflite", "lite": "tflite", "tf-lite": "tflite", ".tflite": "tflite", "edgetpu": "tflite",
    "engine": "onnx", "trt": "onnx", "tensorrt": "onnx", ".onnx": "onnx", "ort": "onnx", "onnxruntime": "onnx",
}  # fmt: skip


def _named(word: str, names: Sequence[str], aliases: Mapping[str, str], what: str) -> str:
    plain = word.strip().lower().replace("_", "-").replace(" ", "")
    wanted = aliases.get(plain, plain)
    if wanted in names:
        return wanted
    close = difflib.get_close_matches(wanted, [*names, *aliases], 1)
    hint = f"did you mean {aliases.get(close[0], close[0])}?" if close else f"there are {', '.join(names)}"
    raise UsageError(f"there is no {what} {word!r:.40}", hint)


def precision_name(word: str) -> str:
    """The precision that people mean by a word.

    Raises:
        UsageError: None; names the closest.
    """
    brought = [name.partition("-")[2] for name in pass_names()]  # packages outside bring passes of their own
    return _named(word, tuple(dict.fromkeys((*PRECISIONS, *brought))), _PRECISION_WORDS, "precision")


def format_name(word: str) -> str:
    """The model format that people mean by a word.

    Raises:
        UsageError: None; names the closest.
    """
    return _named(word, FORMATS, _FORMAT_WORDS, "format")


def recipe_for(precision: str, format: str, limits: TargetLimits) -> tuple[dict[str, Any], ...]:
    """The recipe that brings a float model of a format to a precision on a target.

    Args:
        precision: One of `PRECISIONS` but ``auto``, which is the caller's to resolve.
        format: Model format.
        limits: Of the target.

    Raises:
        UsageError: No pass does that, or the target cannot run the result.
    """
    if precision == "fp32" or format == "c":  # plain code is written with its leaves as they shall be
        return ()
    name = f"{format}-{precision}"
    if name not in pass_names():
        have = ", ".join(p.removeprefix(f"{format}-") for p in pass_names() if p.startswith(f"{format}-"))
        raise UsageError(f"{format} models cannot become {precision}", f"they can become {have or 'nothing else'}")
    settings: dict[str, Any] = {"pass": name}
    if name == "onnx-int8" and limits.signed_activations:
        settings["signed_activations"] = True
    if name in ("onnx-w8", "onnx-w4") and limits.signed_activations:
        raise UsageError("TensorRT does not know onnxruntime's products with small weights", "use --quantize int8")
    if name == "onnx-w8a16" and limits.signed_activations:
        raise UsageError("TensorRT has no 16-bit activations", "use --quantize int8 or fp16")
    if format == "tflite" and limits.integer_io:
        if precision != "int8":
            raise UsageError(
                f"the target takes whole numbers at both ends, which {precision} does not give", "use --quantize int8"
            )
        settings["integer_io"] = True
    if name in ("tflite-int8", "tflite-w8a16") and not limits.dense_per_channel:
        settings["dense_per_channel"] = False
    return (settings,)


def apply_recipe(recipe: Sequence[Mapping[str, Any]], model: Converted, context: PassContext) -> Converted:
    """Apply passes in order.

    Raises:
        ConversionError: A pass failed.
        UsageError: A pass or a setting is unknown or does not fit the model's format, or calibration samples are
            missing. Nothing was applied then but what comes before it.
    """
    for step in [_read(entry) for entry in recipe]:
        if step.format != model.format:
            raise UsageError(f"pass {step.name!r} works on {step.format} models, this one is {model.format}")
        model = step(model, context)
    return model


def _read(entry: Mapping[str, Any]) -> Pass:
    """A pass with its settings out of plain data, strictly: a misspelt setting must not be a default.

    Raises:
        UsageError: Unknown pass or setting, or a value that does not fit.
    """
    settings = dict(entry)
    name = str(settings.pop("pass", ""))
    kind = pass_class(name)
    known: list[str] = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    for setting in settings:
        if setting not in known:
            raise UsageError(
                f"pass {name!r} has no setting {setting!r:.40}", f"it has {', '.join(known) or 'no settings'}"
            )
    try:
        return decode(kind, settings, f"pass {name!r}")
    except PlainDataError as error:
        raise UsageError(error.message, "correct the recipe") from error
