"""What the workstation's tests share: the command line in a process of its own, and a small trained network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.demo import NETWORK, digits, train
from edgekit.plan import ExportPlan


def edgekit(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """Folder with trained digits: network.py, digits.safetensors, digits.npz."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "network.py").write_text(NETWORK)
    arrays = digits()
    np.savez(folder / "digits.npz", **arrays)
    train(arrays, folder / "network.py", folder / "digits.safetensors", lambda _done, _total: None)
    return folder


def plan(trained: Path, output: Path, **changes) -> ExportPlan:
    settings = {
        "model": f"{trained}/network.py:network",
        "target": "generic-cpu",
        "weights": str(trained / "digits.safetensors"),
        "input_shape": (-1, 1, 32, 32),
        "data": str(trained / "digits.npz"),
        "preprocess": "0..1",
        "output": str(output),
        **changes,
    }
    return ExportPlan(**settings)


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
