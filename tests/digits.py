"""The demo's digits network, trained once a session, and a plan to export it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.demo import NETWORK, digits, train
from edgekit.plan import ExportPlan


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
