"""Shared by all tests: what the machine offers, and loud skips where it does not."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

if importlib.util.find_spec("edgekit"):  # the tests of the small install have no workstation
    from .digits import trained  # noqa: F401
    from .models import classic_models, float_bundle, lowered, models, onnx_file, tflite_file  # noqa: F401

REQUIRE_ALL = os.environ.get("EDGEKIT_REQUIRE") == "all"


def _absent(reason: str) -> None:
    """Skip with the reason; in CI, where everything must be there, fail with it."""
    if REQUIRE_ALL:
        pytest.fail(f"EDGEKIT_REQUIRE=all, but {reason}")
    pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("tool"):
        for name in marker.args:
            if shutil.which(name) is None:
                _absent(f"the system tool {name!r} is not installed")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of the real models and data sets."""
    folder = os.environ.get("EDGEKIT_ASSETS")
    if not folder:
        _absent("EDGEKIT_ASSETS does not point to the real models and data")
    path = Path(str(folder)).resolve()
    if not (path / "index.json").is_file():
        _absent(f"EDGEKIT_ASSETS={folder} has no index.json")
    return path


@pytest.fixture(scope="session")
def needs_backend() -> Callable[[str], None]:
    """Call with a back end's name: skips where its interpreter is not installed (tests of the small install)."""
    from edgekit_runtime.backends import backend

    def check(name: str) -> None:
        if backend(name).version() is None:
            pytest.skip(f"the {name} back end needs {backend(name).package}, not installed in this environment")

    return check
