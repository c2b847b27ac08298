"""What Keras files say about themselves before TensorFlow starts: kind, and whether loading them runs code."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit_converters.errors import MissingRequirement, SourceError, UntrustedPickle

_MAGIC = b"\x89HDF\r\n\x1a\n"
_HINT = "say --trust if you trust it"
_CODE_OPERATIONS = (b"PyFunc", b"PyFuncStateless", b"EagerPyFunc", b"ReadFile", b"WriteFile", b"LoadLibrary")
"""TensorFlow operations with which a graph reaches beyond its tensors (TensorFlow's own SECURITY.md)."""


def check_h5(path: Path, *, trust: bool) -> None:
    """Look into an ``.h5`` file.

    Old Keras unpickles the Python code of Lambda layers without asking, so they are looked for here.

    Raises:
        SourceError: Not HDF5, or weights without a network.
        UntrustedPickle: It holds a Lambda layer and `trust` is not set.
    """
    if importlib.util.find_spec("h5py") is None:
        raise MissingRequirement("h5py is not installed", 'pip install "edgekit[tensorflow]"')
    import h5py

    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise SourceError(f"{path.name} is not an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
        text = config.decode("utf-8") if isinstance(config, bytes) else config
        document = json.loads(text) if text is not None else None
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise SourceError(f"{path.name} cannot be read ({' '.join(str(error).split())[:120]})") from error
    if document is None:
        raise SourceError(f"{path.name} holds weights without the network", "save the whole model: model.save(...)")
    if not trust and "Lambda" in set(_classes(document)):
        raise UntrustedPickle(f"{path.name} holds a Lambda layer, which runs code when it is loaded", _HINT)


def _classes(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str):
                yield item["class_name"].rpartition(">")[2]
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def check_saved_model(folder: Path, *, trust: bool) -> None:
    """Look into a SavedModel's graph for operations that reach files or Python.

    Raises:
        UntrustedPickle: It holds one and `trust` is not set.
    """
    if trust:
        return
    content = (folder / "saved_model.pb").read_bytes()
    for operation in _CODE_OPERATIONS:
        # an operation's name is a protobuf string: its length in one byte stands before it
        if bytes([len(operation)]) + operation in content:
            raise UntrustedPickle(
                f"{folder.name} uses the operation {operation.decode()}, with which a model reaches beyond itself",
                _HINT,
            )
