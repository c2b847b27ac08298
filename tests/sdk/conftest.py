"""What the workstation's tests share: the command line in a process of its own, and the digits as ONNX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..coloured import coloured
from ..digits import plan

__all__ = ["coloured", "edgekit", "plan"]


def edgekit(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.fixture(scope="session")
def digits_onnx(trained, tmp_path_factory) -> Path:
    """The trained digits as an ONNX file: what loads fastest."""
    from edgekit_converters.limits import TargetLimits
    from edgekit_converters.registry import conversion, load_source
    from edgekit_converters.source import SourceRequest

    request = SourceRequest(f"{trained}/network.py:network", trained / "digits.safetensors", {"": (-1, 1, 32, 32)})
    source = load_source(request)
    made = conversion("torch", "onnx")(source, tmp_path_factory.mktemp("onnx"), TargetLimits(("onnx",)))
    source.close()
    return made.path
