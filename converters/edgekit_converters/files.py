"""Hashes and the tensors of model files."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekit_converters.errors import SourceError
from edgekit_converters.quiet import quiet
from edgekit_runtime.backends import FileTensor, Session, backend
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.manifest import Binding, TensorInfo

_HEAD = 256
_BACKENDS = {"onnx": "onnx", "tflite": "litert", "c": "plain"}


def sha256_of(*paths: Path) -> str:
    """SHA-256 over the contents of files and, sorted by name, of folders."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            with file.open("rb") as stream:
                while block := stream.read(2**20):
                    digest.update(block)
    return digest.hexdigest()


def begins_with(path: Path, word: bytes) -> bool:
    """Whether a file has a word among its first bytes; false where it cannot be read."""
    try:
        with path.open("rb") as file:
            return word in file.read(_HEAD)
    except OSError:
        return False


def versions(*distributions: str) -> dict[str, str]:
    """Installed versions of those that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def open_model(path: Path, format: str) -> Session:
    """Open a model file on the workstation's interpreter of its format.

    Raises:
        SourceError: Unreadable, or refused by the interpreter.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path} ({error.strerror or error})") from error
    return open_content(content, format, path.name)


def open_content(content: bytes, format: str, name: str) -> Session:
    """Open a model file's bytes on the workstation's interpreter of its format.

    Raises:
        SourceError: Refused by the interpreter; says `name`.
    """
    try:
        with quiet():  # LiteRT announces its delegate on standard error
            return backend(_BACKENDS[format]).open(content)
    except EdgekitError as error:
        if error.exit_code != 1:
            raise
        raise SourceError(f"{name} cannot be loaded: {error.message}", error.hint) from error


def model_view(tensor: FileTensor) -> TensorInfo:
    """A file's tensor as the model's user sees it: float32 where whole numbers stand for reals."""
    return TensorInfo(tensor.name, tensor.shape, "float32" if tensor.scale > 0 else tensor.dtype)


def bind(
    infos: tuple[TensorInfo, ...],
    found: tuple[FileTensor, ...],
    names: dict[str, str] | None = None,
    transpose: dict[str, tuple[int, ...]] | None = None,
) -> tuple[Binding, ...]:
    """Bindings of the model's tensors to a file's, by `names` where given, else by equal names, else by position."""
    have = {_bare(f.name): f for f in found} | {f.name: f for f in found}
    bindings = []
    for number, info in enumerate(infos):
        file = have.get((names or {}).get(info.name, info.name)) or found[number]
        bindings.append(
            Binding(
                info.name,
                file.name,
                file.shape,
                file.dtype,
                file.scale,
                file.zero_point,
                (transpose or {}).get(info.name, ()),
            )
        )
    if len({b.name for b in bindings}) != len(bindings):
        raise SourceError("the converted model's tensors cannot be matched to the source's", "name them in the source")
    return tuple(bindings)


def _bare(name: str) -> str:
    """``serving_default_x:0``, as TensorFlow's converter names the input ``x``, to ``x``."""
    return name.removeprefix("serving_default_").split(":")[0]
