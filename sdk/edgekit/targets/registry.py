"""Where targets are found: a lazy table, family names, refused names, and entry points (group ``edgekit.targets``)."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points

from edgekit.targets.target import Target
from edgekit_runtime.errors import UsageError

TARGETS = {
    "pi5": "edgekit.targets.pi5:TARGET",
    "pi4": "edgekit.targets.pi4:TARGET",
    "pi3": "edgekit.targets.pi3:TARGET",
    "jetson-orin": "edgekit.targets.jetson_orin:TARGET",
    "coral": "edgekit.targets.coral:TARGET",
    "generic-cpu": "edgekit.targets.generic_cpu:TARGET",
    "generic-c": "edgekit.targets.generic_c:TARGET",
    "cortex-m0": "edgekit.targets.cortex_m:M0",
    "cortex-m3": "edgekit.targets.cortex_m:M3",
    "cortex-m4": "edgekit.targets.cortex_m:M4",
    "cortex-m7": "edgekit.targets.cortex_m:M7",
    "cortex-m33": "edgekit.targets.cortex_m:M33",
}
FAMILIES = {
    "pi": "pi5",
    "raspberry-pi": "pi5",
    "jetson": "jetson-orin",
    "edgetpu": "coral",
    "cpu": "generic-cpu",
    "c": "generic-c",
}
REFUSED = {
    "jetson-nano": "its JetPack 4 ends at Python 3.6 and TensorRT 8.2, which edgekit-runtime does not support",
    "jetson-xavier": "its JetPack ends at 5 (Python 3.8), which edgekit-runtime does not support out of the box",
    "jetson-tx2": "its JetPack 4 ends at Python 3.6 and TensorRT 8.2, which edgekit-runtime does not support",
}


@dataclass(frozen=True)
class Resolved:
    """A target found by name.

    Attributes:
        target: The target.
        said: What to tell the user where the name was a family's, else empty.
    """

    target: Target
    said: str = ""


def target_names() -> tuple[str, ...]:
    """Every registered target, ours first."""
    return tuple(dict.fromkeys((*TARGETS, *(e.name for e in entry_points(group="edgekit.targets")))))


def resolve_target(name: str) -> Resolved:
    """Find a target by its own or its family's name.

    Raises:
        UsageError: There is none of that name (names the closest), or it is one that is refused (says why).
    """
    wanted = name.strip().lower().replace("_", "-")
    if wanted in REFUSED:
        raise UsageError(f"target {name!r} is not supported: {REFUSED[wanted]}", "use jetson-orin, or generic-cpu")
    member = FAMILIES.get(wanted, wanted)
    table = dict(TARGETS)
    table.update({e.name: e.value for e in entry_points(group="edgekit.targets")})
    if member not in table:
        close = difflib.get_close_matches(wanted, [*table, *FAMILIES], 1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"the targets are {', '.join(target_names())}"
        raise UsageError(f"there is no target {name!r:.40}", hint)
    module, attribute = table[member].split(":")
    target: Target = getattr(importlib.import_module(module), attribute)
    return Resolved(target, f"{name} means {target.name} ({target.title})" if member != wanted else "")


def load_target(name: str) -> Target:
    """`resolve_target` without the remark."""
    return resolve_target(name).target
