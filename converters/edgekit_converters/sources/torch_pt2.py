"""Whether a ``.pt2`` file is only data.

`torch.export.load` is not safe on its own (read in torch 2.13): sample inputs, legacy weights and custom objects fall
back to plain pickle, symbolic sizes go through sympy's ``eval``, guards through ``exec``, and an operation's target may
be any attribute below ``torch``. So the archive is read here first, by the standard library, and what could run code
is refused.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError, UntrustedPickle

_TARGET = re.compile(r"torch\.ops\.(aten|prims|quantized_decomposed|higher_order)\.\w+(\.\w+)?|_operator\.[a-z]\w*"
                     r"|math\.[a-z]\w*|torch\.sym_\w+|torch\._sym_\w+")  # fmt: skip
_SAFE_WORDS = {
    "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv",
    "CleanDiv", "CeilDiv", "CeilToInt", "FloorToInt", "ToFloat", "IntTrueDiv", "FloatTrueDiv", "TruncToInt", "Where",
    "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "And", "Or", "Not", "True", "False", "positive", "integer", "nonnegative",
    "oo", "int_oo", "L", "args", "size", "shape", "and", "or", "not",
}  # fmt: skip
_EXPRESSION = re.compile(r"[\w\s+\-*/%(),.=<>&|~'\[\]]*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_SYMBOL = re.compile(r"[su]\d+")
_LARGEST_JSON = 2**28


def check_archive(path: Path) -> None:
    """Look through an exported program for anything that would run code.

    Raises:
        SourceError: Not an exported program at all.
        UntrustedPickle: It holds more than operations and tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            programs = [i for i in archive.infolist() if re.fullmatch(r"[^/]+/models/[^/]+\.json", i.filename)]
            if not programs:
                raise SourceError(
                    f"{path.name} is not an exported program", "write it with torch.export.save of torch 2.8 or later"
                )
            for member in archive.infolist():
                _check_member(path, archive, member)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise SourceError(f"{path.name} is not an exported program ({str(error)[:120]})") from error


def _check_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    inside = member.filename.partition("/")[2]
    if inside.endswith(".json"):
        if member.file_size > _LARGEST_JSON:
            raise SourceError(f"{path.name}: {inside} is too large")
        document = json.loads(archive.read(member))
        reason = _config(document) if inside.startswith("data/") else _program(document)
        if reason:
            raise _refuse(path, reason)
    elif inside.startswith("data/sample_inputs/"):
        _check_pickle(path, archive.read(member), "sample inputs")
    elif inside.startswith(("data/weights/", "data/constants/")) and inside.endswith(".pt"):
        _check_pickle(path, archive.read(member), "weights")
    elif inside.startswith("data/aotinductor"):
        raise _refuse(path, "compiled code")


def _check_pickle(path: Path, content: bytes, what: str) -> None:
    import torch

    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError, … for what it will not load
        raise _refuse(path, f"{what} that are more than tensors") from error


def _config(document: Any) -> str:
    """What is wrong with a table of weights or constants; empty for nothing."""
    for entry in document.get("config", {}).values():
        if entry.get("use_pickle") is not False or entry.get("tensor_meta") is None:
            return "pickled weights or objects"
    return ""


def _program(document: Any) -> str:
    """What is wrong with the graph; empty for nothing."""
    for key, value in _walk(document):
        if key == "target" and isinstance(value, str) and not _TARGET.fullmatch(value):
            return f"the operation {value[:60]!r}"
        if key == "expr_str" and not _harmless(str(value)):
            return f"the size {str(value)[:60]!r}"
        if key == "guards_code" and not all(_harmless(str(guard)) for guard in value):
            return "guards that are more than comparisons"
    return ""


def _harmless(expression: str) -> bool:
    """Whether it is arithmetic over symbols and plain functions: no other names, no attributes but ``size``."""
    words = _WORD.findall(expression)
    if not _EXPRESSION.fullmatch(expression) or "__" in expression:
        return False
    quoted = set(re.findall(r"\['([A-Za-z]\w*)'\]", expression))  # L['x'].size()[0] in guards
    return all(w in _SAFE_WORDS or _SYMBOL.fullmatch(w) or w in quoted for w in words)


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _refuse(path: Path, reason: str) -> UntrustedPickle:
    return UntrustedPickle(
        f"{path.name} holds {reason}, which may run code when it is loaded", "say --trust if you trust it"
    )
