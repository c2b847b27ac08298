"""Raw samples that come as bytes or as a path to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgekit_runtime.errors import SpecificationError


def read_raw(raw: Any, what: str) -> tuple[bytes, str]:
    """Content of a raw sample, and how errors shall call it.

    Args:
        raw: Bytes, or a path to them.
        what: ``picture`` or ``sound``.

    Raises:
        SpecificationError: Neither bytes nor a path, or the file cannot be read.
    """
    if isinstance(raw, (bytes, bytearray, memoryview)):
        return bytes(raw), f"the {what}"
    if isinstance(raw, (str, os.PathLike)):
        where = f"the {what} {os.fspath(raw)}"
        try:
            return Path(raw).read_bytes(), where
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            reason = getattr(error, "strerror", None) or error
            raise SpecificationError(f"cannot read {where} ({reason})") from error
    raise SpecificationError(f"a {what} must be bytes, a path or an array, not {type(raw).__name__}")
