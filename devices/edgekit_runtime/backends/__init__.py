"""Device interpreters: one file each, found by name in a lazy table; packages outside add theirs by entry point.

An entry point in the group ``edgekit_runtime.backends`` names an object of class `Backend`.
"""

from edgekit_runtime.backends.base import Backend, FileTensor, Session
from edgekit_runtime.backends.registry import accelerator_of, backend, backend_names, choose

__all__ = ["Backend", "FileTensor", "Session", "accelerator_of", "backend", "backend_names", "choose"]
