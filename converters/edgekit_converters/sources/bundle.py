"""Bundles as sources: the float variant in one is a model again, under the names that its specification knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit_converters.errors import NoConversion, SourceError
from edgekit_converters.files import open_content, sha256_of, versions
from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted, Feeds
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest
from edgekit_runtime.backends import backend
from edgekit_runtime.bundle import Bundle
from edgekit_runtime.manifest import Variant
from edgekit_runtime.runtime import Runtime, specification_files

FORMATS = {"onnx": ("onnx", "onnxruntime"), "tflite": ("litert", "ai-edge-litert")}
"""Formats whose float files are taken, each with what runs it here and whose version that is."""


class BundleKind(SourceKind):
    """``.edgekit`` files that hold a float variant (``--keep all``)."""

    name = "bundle"
    extra = "quantize"

    def claims(self, request: SourceRequest) -> bool:
        """By suffix."""
        return request.model.lower().endswith(".edgekit")

    def load(self, request: SourceRequest) -> Source:
        """Open it."""
        return BundleSource(Path(request.model))

    def conversions(self) -> Mapping[str, Conversion]:
        """A float file stays what it is; a bundle may lack one (`BundleSource.refuses`)."""
        return {"onnx": to_onnx, "tflite": to_tflite}


class BundleSource(Source):
    """The float variant of a bundle.

    Args:
        path: The bundle.

    Raises:
        BundleError: It is no bundle, or was altered.
        SourceError: It holds no float variant, or the interpreter refuses it.
    """

    framework = "bundle"

    def __init__(self, path: Path) -> None:
        with Bundle.open(path) as bundle:
            manifest = bundle.manifest
            self.floats = {v.format: v for v in manifest.variants if v.precision == "fp32" and v.format in FORMATS}
            if not self.floats:
                have = ", ".join(v.name for v in manifest.variants)
                raise SourceError(
                    f"{path.name} holds no float network to start from, only {have}",
                    "give the original model, or export the bundle with --keep all",
                )
            self.files = specification_files(bundle)
            self.contents = {name: bundle.read(v.file) for name, v in self.floats.items()}
        format_ = next(iter(self.floats))
        runs, tool = FORMATS[format_]
        session = open_content(self.contents[format_], format_, path.name)
        self._runtime = Runtime(manifest, self.floats[format_], backend(runs), session, self.files)
        self.name = path.name
        self.sha256 = sha256_of(path)
        self.inputs, self.outputs = manifest.inputs, manifest.outputs
        self.tools = versions(tool)
        self.labels = manifest.labels
        self.task = manifest.task

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Outputs of the float variant, on the interpreter of its format."""
        return self._runtime.run(feeds)

    def refuses(self, format: str) -> str:
        """Where there is no float file of that format."""
        return "" if format in self.floats else f"{self.name} holds no float file of it"

    def close(self) -> None:
        """Drop the interpreter."""
        self._runtime.close()


def _taken(source: Source, folder: Path, format: str) -> Converted:
    assert isinstance(source, BundleSource)  # noqa: S101 - this row of the table makes them
    variant: Variant | None = source.floats.get(format)
    if variant is None:
        have = ", ".join(source.floats)
        raise NoConversion(f"{source.name} holds no float {format} file", f"give --format {have}")
    target = folder / f"{format}-float.{format}"
    target.write_bytes(source.contents[format])
    return Converted(target, format, "fp32", variant.inputs, variant.outputs, tools=versions(FORMATS[format][1]))


def to_onnx(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """The bundle's float ONNX file, in an opset that the target reads."""
    from edgekit_converters.sources.onnx import fit_limits

    model = _taken(source, folder, "onnx")
    fit_limits(model.path, limits)
    return model


def to_tflite(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """The bundle's float TFLite file as it is."""
    return _taken(source, folder, "tflite")


KIND = BundleKind()
