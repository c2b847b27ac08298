"""JSON Schema of `manifest.json` from the dataclasses of `edgekit_runtime.manifest`."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import typing
from typing import Any

from edgekit_runtime.manifest import DTYPES, SCHEMA, Manifest
from edgekit_runtime.plain import encode
from edgekit_runtime.specification.core import KINDS
from generators.docstrings import described

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}
_MAJOR = SCHEMA.split(".", maxsplit=1)[0]

# What the classes check in code, or say in words
_MORE: dict[tuple[str, str], dict[str, Any]] = {
    ("Manifest", "schema"): {"pattern": rf"^{_MAJOR}(\.|$)"},
    ("Manifest", "inputs"): {"minItems": 1},
    ("Manifest", "outputs"): {"minItems": 1},
    ("Manifest", "variants"): {"minItems": 1},
    ("TensorInfo", "dtype"): {"enum": list(DTYPES)},
    ("TensorInfo", "shape"): {"items": {"type": "integer", "minimum": -1}},
    ("Binding", "dtype"): {"enum": list(DTYPES)},
    ("Binding", "scale"): {"minimum": 0},
    ("SpecificationData", "kind"): {"enum": list(KINDS)},
    ("SpecificationData", "input"): {"items": {"type": "object", "required": ["step"]}},
    ("SpecificationData", "output"): {"items": {"type": "object", "required": ["step"]}},
    ("Member", "bytes"): {"minimum": 0},
    ("Member", "sha256"): {"pattern": "^[0-9a-f]{64}$"},
}


def manifest_schema() -> str:
    """The schema as JSON text."""
    definitions: dict[str, Any] = {}
    top = _class(Manifest, definitions)
    unused = {name for name, _ in _MORE} - {*definitions, "Manifest"}
    assert not unused, f"there are no classes {unused}"
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"manifest.json of an edgekit bundle, version {SCHEMA}",
        "$comment": "Written by docs/generate.py. Unknown properties are those of a newer minor version: ignore them.",
        **top,
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _class(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """An object with the class's fields; the classes it refers to are added to `definitions`."""
    summary, attributes = described(cls)
    hints = typing.get_type_hints(cls)
    properties, required = {}, []
    for field in dataclasses.fields(cls):
        entry = {"description": attributes[field.name], **_kind(hints[field.name], definitions)}
        entry.update(_MORE.get((cls.__name__, field.name), {}))
        if field.default is not dataclasses.MISSING:
            entry["default"] = encode(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            entry["default"] = encode(field.default_factory())
        else:
            required.append(field.name)
        properties[field.name] = entry
    return {"description": summary, "type": "object", "required": required, "properties": properties}


def _kind(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind is Any:
        return {}
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if dataclasses.is_dataclass(kind):
        name = typing.cast("type", kind).__name__
        if name not in definitions:
            definitions[name] = {}  # holds the place where a class refers to itself
            definitions[name] = _class(kind, definitions)
        return {"$ref": f"#/$defs/{name}"}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _kind(arguments[0], definitions)}
    if origin is tuple:
        return {
            "type": "array",
            "prefixItems": [_kind(a, definitions) for a in arguments],
            "minItems": len(arguments),
            "maxItems": len(arguments),
        }
    if origin is collections.abc.Mapping:
        values = _kind(arguments[1], definitions)
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    if type(None) in arguments:
        return {"anyOf": [_kind(arguments[0], definitions), {"type": "null"}]}
    raise TypeError(f"the schema cannot say {kind!r}")
