"""The device half of edgekit: opens a bundle, proves that it works here, and runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit_runtime.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit_runtime.bundle import Bundle
    from edgekit_runtime.runtime import Runtime
    from edgekit_runtime.specification import Specification

__version__ = "0.1.0"
__all__ = ["Bundle", "EdgekitError", "Runtime", "Specification", "__version__"]

_LAZY = {
    "Bundle": "edgekit_runtime.bundle",
    "Runtime": "edgekit_runtime.runtime",
    "Specification": "edgekit_runtime.specification",
}


def __getattr__(name: str) -> Any:
    """Import what is large only when it is asked for: the resident agent must not pay for it."""
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
