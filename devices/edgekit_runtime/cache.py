"""Where this device keeps what it found out about itself and can find out again: engines, choices, verdicts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Union

from edgekit_runtime.atomic import replacing

try:
    import fcntl
except ImportError:  # no POSIX system: one process at a time is the user's to see to
    fcntl = None  # type: ignore[assignment]

VARIABLE = "EDGEKIT_CACHE"


def cache_folder(asked: Union[str, os.PathLike[str], None] = None) -> Path:
    """`asked`, else ``$EDGEKIT_CACHE``, else ``edgekit`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. It need not exist."""
    if asked is not None or os.environ.get(VARIABLE):
        return Path(asked or os.environ[VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit"


def key_of(*parts: object) -> str:
    """A file name for whatever the parts say, the same in every process; 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps([str(p) for p in parts]).encode()).hexdigest()[:32]


def recall(path: Path) -> Optional[dict[str, Any]]:
    """The JSON object in a file; None where there is none, or it is damaged: then it is found out again."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def remember(path: Path, value: dict[str, Any]) -> bool:
    """Keep a JSON object, whole or not at all; False where the place cannot be written, which costs time alone."""
    try:
        with replacing(path) as out:
            out.write(json.dumps(value, indent=2).encode())
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with its process, however that ends.

    Args:
        path: Lock file; made, and left there.

    Raises:
        OSError: Its folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as held:
        if fcntl is not None:
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
