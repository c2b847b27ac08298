"""Raw samples over HTTP, sans-I/O: a picture, a sound, a text or a row, as the bundle's own pre-processing takes it."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit_runtime.manifest import Manifest
from edgekit_runtime.samples import decode_raw
from edgekit_runtime.serve.http import Refused
from edgekit_runtime.serve.numbers import flatten, to_array

# What a body of this type is called as a file; `decode_raw` goes by the name
_SUFFIXES = {
    "application/json": ".json",
    "text/plain": ".txt",
    "application/x-npy": ".npy",
    "application/x-npz": ".npz",
    "application/octet-stream": ".bin",
}
_TAKES = {
    "image": ("image/*", "application/octet-stream", "application/x-npy"),
    "audio": ("audio/*", "application/octet-stream", "application/x-npy"),
    "text": ("text/plain", "application/json"),
    "table": ("application/json",),
    "tensor": ("application/json", "application/x-npy", "application/x-npz"),
}


def decode_sample(kind: str, content_type: str, body: bytes) -> Any:
    """A body to the raw sample that the specification takes.

    Args:
        kind: Kind of the specification.
        content_type: The body's media type; parameters are ignored, text is UTF-8.
        body: Content.

    Raises:
        Refused: 415 for a type that the model does not take, 400 for an empty body.
        SpecificationError: The body is not what its type says.
    """
    media = content_type.split(";", 1)[0].strip().lower()
    takes = _TAKES.get(kind, ())
    if media not in takes and f"{media.split('/', 1)[0]}/*" not in takes:
        raise Refused(415, f"the model takes {kind} samples, not {media[:60] or 'a body without a type'}", _ways(takes))
    if not body:
        raise Refused(400, "the body is empty")
    sample = decode_raw("body" + _SUFFIXES.get(media, ".bin"), body)
    if media == "application/json" and kind == "tensor":
        if isinstance(sample, dict):
            return {name: _tensor(value, name) for name, value in sample.items()}
        return _tensor(sample, "body")
    if media == "application/json" and kind == "text" and not isinstance(sample, (str, dict)):
        raise Refused(400, "the model takes one text, as a JSON string or a row")
    return sample


def _ways(takes: tuple[str, ...]) -> str:
    return f"send {', '.join(takes)} as Content-Type"


def _tensor(value: Any, name: str) -> np.ndarray:
    shape, flat = flatten(value)
    return to_array(flat, "float64", name).reshape(shape)


def kind_of(manifest: Manifest) -> str:
    """What a model's raw samples are."""
    specification = manifest.specification
    # a table of one text column takes the text alone, too
    text = bool(specification.input) and specification.input[0].get("step") == "text"
    return "text" if text else specification.kind
