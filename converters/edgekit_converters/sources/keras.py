"""Keras 3 models, and old ones that only `tf_keras` loads; TensorFlow lives in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError, SourceError
from edgekit_converters.files import sha256_of
from edgekit_converters.isolated import Worker
from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted, Feeds
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest
from edgekit_converters.sources.keras_files import check_h5, check_saved_model
from edgekit_converters.sources.onnx import converted_onnx, fit_limits
from edgekit_converters.sources.tflite import converted_tflite
from edgekit_runtime.manifest import TensorInfo

_CHILD = "edgekit_converters.sources.keras_child"


class KerasSource(Source):
    """A model held by a child process."""

    def __init__(self, framework: str, path: Path, worker: Worker, facts: dict[str, Any]) -> None:
        self.framework = framework
        self.path = path
        self.name = path.name
        self.sha256 = sha256_of(path)
        self.worker = worker
        self.inputs = tuple(TensorInfo(n, tuple(s), d) for n, s, d in facts["inputs"])
        self.outputs = tuple(TensorInfo(n, tuple(s), d) for n, s, d in facts["outputs"])
        self.tools = facts["tools"]

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Reference outputs."""
        result: dict[str, np.ndarray] = self.worker.call(f"{_CHILD}:run", feeds=dict(feeds))
        return result

    def layers(self, feeds: Feeds) -> list[tuple[str, np.ndarray]]:
        """What each layer gives; nothing for a SavedModel."""
        found: list[tuple[str, np.ndarray]] = self.worker.call(f"{_CHILD}:layers", feeds=dict(feeds))
        return found

    def close(self) -> None:
        """End the child."""
        self.worker.close()


class KerasKind(SourceKind):
    """``.keras``, ``.h5`` and SavedModel folders."""

    name = "keras"
    extra = "tensorflow"

    def claims(self, request: SourceRequest) -> bool:
        """By suffix, or a folder with a saved_model.pb."""
        path = Path(request.model)
        return path.suffix.lower() in (".keras", ".h5", ".hdf5") or (path / "saved_model.pb").is_file()

    def load(self, request: SourceRequest) -> Source:
        """Load with Keras 3, and an old ``.h5`` that it refuses with tf_keras."""
        try:
            return _load(request, "keras")
        except ConversionError as error:
            if error.exit_code != 1:
                raise
            if not request.model.lower().endswith((".h5", ".hdf5")):
                raise SourceError(f"{request.model} cannot be loaded: {error.message}", error.hint) from error
            return LEGACY.load(request)

    def conversions(self) -> Mapping[str, Conversion]:
        """By TFLiteConverter and model.export."""
        return {"tflite": to_tflite, "onnx": to_onnx}


class LegacyKind(SourceKind):
    """``.h5`` files from before Keras 3."""

    name = "keras-legacy"
    extra = "tensorflow"

    def claims(self, request: SourceRequest) -> bool:
        """Never by itself: `KerasKind` hands over what Keras 3 refuses."""
        return False

    def load(self, request: SourceRequest) -> Source:
        """Load with tf_keras."""
        try:
            return _load(request, "keras-legacy")
        except ConversionError as error:
            raise SourceError(f"{request.model} cannot be loaded: {error.message}", error.hint) from error

    def conversions(self) -> Mapping[str, Conversion]:
        """By TFLiteConverter and tf2onnx."""
        return {"tflite": to_tflite, "onnx": to_onnx}


def _load(request: SourceRequest, framework: str) -> Source:
    path = Path(request.model)
    if not path.exists():
        raise SourceError(f"there is no file {path}")
    if path.suffix.lower() in (".h5", ".hdf5"):
        check_h5(path, trust=request.trust)
    elif path.is_dir():
        check_saved_model(path, trust=request.trust)
    legacy = framework == "keras-legacy"
    worker = Worker(
        "tf_keras" if legacy else "tensorflow", "tensorflow", {"TF_USE_LEGACY_KERAS": "1"} if legacy else {}
    )
    try:
        facts = worker.call(
            f"{_CHILD}:load", path=str(path), legacy=legacy, trust=request.trust, shapes=dict(request.shapes)
        )
        return KerasSource(framework, path, worker, facts)
    except BaseException:
        worker.close()
        raise


def to_tflite(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """By TFLiteConverter."""
    assert isinstance(source, KerasSource)  # noqa: S101 - this row of the table makes them
    target = folder / "tflite-float.tflite"
    source.worker.call(f"{_CHILD}:to_tflite", target=str(target), fixed=limits.static_shapes)
    return converted_tflite(target, source)


def to_onnx(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """By tf2onnx on the model's own inference function, dynamic batch."""
    assert isinstance(source, KerasSource)  # noqa: S101 - as above
    target = folder / "onnx-float.onnx"
    source.worker.call(f"{_CHILD}:to_onnx", target=str(target), opset=min(limits.max_opset, 18))
    fit_limits(target, limits)
    return converted_onnx(target, source)


KIND = KerasKind()
LEGACY = LegacyKind()
