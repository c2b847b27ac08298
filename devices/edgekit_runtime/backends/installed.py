"""Whether an interpreter is installed, without importing it."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from typing import Optional


def installed_version(package: str, *distributions: str) -> Optional[str]:
    """Version of an installed package, ``unknown`` where none of its distributions tells, None where it is not there.

    Args:
        package: Import name.
        distributions: Names under which it is distributed, the usual one first.
    """
    if importlib.util.find_spec(package) is None:
        return None
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "unknown"
