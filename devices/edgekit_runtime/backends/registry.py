"""Where each back end is found, and which one runs a variant."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Optional

from edgekit_runtime.backends.base import Backend, missing
from edgekit_runtime.errors import MissingRequirement, UsageError

_BACKENDS = {
    "litert": "edgekit_runtime.backends.litert:BACKEND",
    "tflite": "edgekit_runtime.backends.tflite:BACKEND",
    "onnx": "edgekit_runtime.backends.onnx:BACKEND",
    "plain": "edgekit_runtime.backends.plain:BACKEND",
    "edgetpu": "edgekit_runtime.backends.edgetpu:BACKEND",
    "tensorrt": "edgekit_runtime.backends.tensorrt:BACKEND",
    "onnx-tensorrt": "edgekit_runtime.backends.onnx_provider:TENSORRT",
    "onnx-cuda": "edgekit_runtime.backends.onnx_provider:CUDA",
}
ENTRY_POINTS = "edgekit_runtime.backends"


def _plugins() -> dict[str, str]:
    found = entry_points()
    # Python 3.9 gives a dict of groups, later ones an object with select()
    group = found.select(group=ENTRY_POINTS) if hasattr(found, "select") else found.get(ENTRY_POINTS, ())
    return {e.name: e.value for e in group}


def backend_names() -> tuple[str, ...]:
    """Every registered back end, ours first, in order of preference."""
    return tuple(dict.fromkeys((*_BACKENDS, *_plugins())))


def backend(name: str) -> Backend:
    """The back end called `name`; its interpreter need not be installed.

    Raises:
        UsageError: There is none of that name; names the closest.
        MissingRequirement: It comes from another package and cannot be loaded.
    """
    plugin = None if name in _BACKENDS else _plugins().get(name)
    if name not in _BACKENDS and plugin is None:
        close = difflib.get_close_matches(name, backend_names(), 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(backend_names())}"
        raise UsageError(f"there is no back end {name!r:.40}", hint)
    if plugin is None:
        return _load(_BACKENDS[name])
    try:
        return _load(plugin)
    except (ImportError, AttributeError) as error:
        raise MissingRequirement(
            f"the back end {name!r} of another package cannot be loaded ({error})", "update or remove that package"
        ) from error


def _load(location: str) -> Backend:
    module, _, attribute = location.partition(":")
    found: Backend = getattr(importlib.import_module(module), attribute)
    return found


def _known(name: str) -> bool:
    """Looks at other packages only for names that are not ours: on a board that takes tens of milliseconds."""
    return name in _BACKENDS or name in _plugins()


def accelerator_of(names: Sequence[str]) -> str:
    """The accelerator that a variant with these back ends is made for; empty where the CPU will do too."""
    units = [backend(name).accelerator for name in names if _known(name)]
    return units[0] if units and all(units) else ""


def choose(names: Sequence[str], forced: Optional[str] = None) -> Backend:
    """The back end to run a variant with: the forced one, else the first of `names` that is installed.

    Args:
        names: Back ends that may open the variant, in order of preference.
        forced: The only one that will do.

    Raises:
        UsageError: The forced one cannot open this variant.
        MissingRequirement: The forced one, or all of them, are not installed; names the extra.
    """
    if forced is not None:
        chosen = backend(forced)
        if forced not in names:
            raise UsageError(f"back end {forced!r} cannot open this variant", f"it runs on {', '.join(names)}")
        if chosen.version() is None:
            raise missing(chosen)
        return chosen
    candidates = [backend(name) for name in names if _known(name)]
    for candidate in candidates:
        if candidate.version() is not None:
            return candidate
    if not candidates:
        raise UsageError(f"this runtime knows none of the back ends {', '.join(names)}", "update edgekit-runtime")
    raise missing(candidates[0])
