"""Where the operators of a model file or of a bundle's variant run on a target."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.targets import Target
from edgekit_converters.files import begins_with
from edgekit_converters.placement import Placement
from edgekit_runtime import Bundle
from edgekit_runtime.errors import MissingRequirement, UsageError

_FORMATS = {".tflite": "tflite", ".onnx": "onnx"}


@dataclass(frozen=True)
class ModelFile:
    """A model as a file.

    Attributes:
        path: The file; of a bundle's variant one that is thrown away later.
        format: ``tflite``, ``onnx`` or ``c``.
        target: Of a bundle, else empty.
        unpack: For people: what unpacks the variant before other programs can read it; empty for a file.
        shown: For people: where the file is then.
    """

    path: Path
    format: str
    target: str
    unpack: str
    shown: str


@contextmanager
def model_file(path: Path, variant: str | None = None) -> Iterator[ModelFile]:
    """A model file, or that of a bundle's variant for as long as the context lasts.

    Args:
        path: A TFLite or ONNX file, or a bundle.
        variant: Which of a bundle's, the chosen one by default.

    Raises:
        UsageError: It is neither, or a variant is named of a file that has none.
        BundleError: The bundle cannot be opened or has no such variant.
    """
    if path.suffix == ".edgekit" or begins_with(path, b"PK\x03\x04"):
        with Bundle.open(path) as bundle, tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            found = bundle.manifest.variant(variant)
            yield ModelFile(
                bundle.extract(found.file, folder),
                found.format,
                bundle.manifest.target,
                f"python -m zipfile -e {path} unpacked && ",
                f"unpacked/{found.file}",
            )
        return
    if variant is not None:
        raise UsageError(f"{path} is no bundle and has no variants", "leave --variant out")
    format_ = _FORMATS.get(path.suffix.lower())
    if format_ is None:
        raise UsageError(
            f"{path} is neither .tflite, .onnx nor a bundle",
            "export it first: operators are placed as they are in the finished file",
        )
    yield ModelFile(path, format_, "", "", str(path))


def place(
    model: ModelFile,
    target: Target,
    *,
    source: Path | None = None,
    tensorrt: str | None = None,
    jetpack: str | None = None,
    require_compiled: bool = False,
) -> Placement:
    """Where each operator of a file runs on a target; on a Coral by its compiler where that is on PATH.

    Args:
        model: What `model_file` gave.
        target: The device.
        source: For a file that is compiled for the Edge TPU: what it was made from, to show every operator of that.
        tensorrt: TensorRT version whose operator table counts, None for the target's.
        jetpack: JetPack whose TensorRT counts instead.
        require_compiled: Whether a prediction will not do.

    Raises:
        UsageError: The target does not say where operators of the format run, or a setting is not for it.
        MissingRequirement: A prediction would not do and the compiler is not here.
        SourceError: The file cannot be read.
        ConversionError: The compiler refused it.
    """
    placing = target.placement.get(model.format)
    if placing is None:
        known = ", ".join(target.placement)
        hint = f"give a file in {known}" if known else "coral, jetson-orin and the Pis do"
        raise UsageError(f"{target.name} does not say where the operators of {model.format} files run", hint)
    coral = target.name == "coral"
    if not coral and (source is not None or require_compiled):
        raise UsageError(f"--source and --require-compiled are for coral, not {target.name}", "leave them out")
    if jetpack is not None:
        if tensorrt is not None:
            raise UsageError("--jetpack says which TensorRT there is", "leave --tensorrt out")
        if not target.name.startswith("jetson"):
            raise UsageError(f"--jetpack is for a Jetson, not for {target.name}", "leave it out")
        from edgekit_converters.placement.jetpack import jetpack as release
        from edgekit_converters.placement.tensorrt import check as held

        brings = release(jetpack)
        found = held(model.path, brings.table)
        return replace(found, notes=(brings.in_words(), *found.notes))
    if tensorrt is not None:
        if model.format != "onnx":
            raise UsageError(f"--tensorrt is for ONNX files on a Jetson, not for {target.name}", "leave it out")
        from edgekit_converters.placement.tensorrt import check

        return check(model.path, tensorrt)
    return _edge_tpu(model, source, require_compiled) if coral else placing(model.path)


def _edge_tpu(model: ModelFile, source: Path | None, require_compiled: bool) -> Placement:
    from edgekit_converters.placement.edgetpu import is_compiled, predict
    from edgekit_converters.placement.edgetpu_compiled import compiled_placement
    from edgekit_converters.placement.edgetpu_compiler import PROGRAM, available, command, compile_and_compare

    if is_compiled(model.path):
        return compiled_placement(model.path, source)
    if source is not None:
        raise UsageError(f"{model.path.name} is not compiled for the Edge TPU and has no --source", "leave it out")
    if available():
        return compile_and_compare(model.path)
    line = model.unpack + command(model.shown)
    if require_compiled:
        raise MissingRequirement(
            f"{PROGRAM} is not on PATH, so that {model.path.name} cannot be compiled",
            f"install it as coral.ai/docs/edgetpu/compiler says, then: {line}",
        )
    found = predict(model.path)
    return replace(found, notes=(*found.notes, f"Predicted, not compiled; to compile: {line}"))
