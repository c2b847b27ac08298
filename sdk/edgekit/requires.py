"""Packages that only some work needs."""

from __future__ import annotations

import importlib.util

from edgekit_runtime.errors import MissingRequirement


def require(package: str, extra: str) -> None:
    """Check that a package is installed, without importing it.

    Args:
        package: Import name.
        extra: The extra of ``edgekit`` that brings it.

    Raises:
        MissingRequirement: It is not.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingRequirement(f"{package} is not installed", f'pip install "edgekit[{extra}]"')
