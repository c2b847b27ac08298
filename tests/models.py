"""Tiny models of every kind, made once a session: TensorFlow starts in child processes only."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted

LIMITS = TargetLimits(("tflite", "onnx"), channels_last=True)

NETWORK = """
import torch

def network():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, 2), torch.nn.ReLU(),
              torch.nn.Flatten(), torch.nn.Linear(16 * 9, 10)]
    return torch.nn.Sequential(*layers)

def nothing():
    return 3
"""

KERAS = """
import sys, os
legacy = sys.argv[1] == "legacy"
if legacy:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tf_keras as keras
else:
    import keras
keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.layers.Input((16, 16, 3)), keras.layers.Conv2D(8, 3, 2, activation="relu"),
    keras.layers.DepthwiseConv2D(3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4, activation="softmax"),
])
model.save(sys.argv[2])
if not legacy:
    model.export(sys.argv[2].replace(".keras", "_saved"), verbose=False)
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Source kind to a model of it (``saved`` is a SavedModel folder)."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models")
    code = folder / "net.py"
    code.write_text(NETWORK)
    script = folder / "make.py"
    script.write_text(KERAS)
    for kind, name in (("new", "net.keras"), ("legacy", "old.h5")):
        subprocess.run([sys.executable, str(script), kind, str(folder / name)], check=True, capture_output=True)
    namespace: dict[str, object] = {}
    exec(NETWORK, namespace)  # noqa: S102
    network = namespace["network"]().eval()  # type: ignore[operator]
    save_file(network.state_dict(), str(folder / "net.safetensors"))
    torch.save(network.state_dict(), folder / "net.pt")
    torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 16, 16),)), folder / "net.pt2")
    return {
        "torch": code,
        "keras": folder / "net.keras",
        "keras-legacy": folder / "old.h5",
        "saved": folder / "net_saved",
        "pt2": folder / "net.pt2",
        "safetensors": folder / "net.safetensors",
        "pt": folder / "net.pt",
    }


@pytest.fixture(scope="session")
def classic_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Source kind of a classic model to a file of it: irises in three classes."""
    import joblib
    import lightgbm
    import xgboost
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    folder = tmp_path_factory.mktemp("classic")
    x, y = load_iris(return_X_y=True)
    joblib.dump(RandomForestClassifier(5, random_state=0).fit(x, y), folder / "forest.joblib")
    xgboost.XGBClassifier(n_estimators=5).fit(x, y).save_model(folder / "boosted.ubj")
    lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(x, y).booster_.save_model(folder / "boosted.txt")
    files = {"sklearn": "forest.joblib", "xgboost": "boosted.ubj", "lightgbm": "boosted.txt"}
    return {kind: folder / name for kind, name in files.items()}


@pytest.fixture(scope="session")
def lowered(models: dict[str, Path]) -> Callable[[str], Converted]:
    """Call with a format: the torch network in it."""
    from edgekit_converters.registry import conversion, load_source
    from edgekit_converters.source import SourceRequest

    @functools.cache
    def lower(format: str) -> Converted:
        request = SourceRequest(f"{models['torch']}:network", models["safetensors"], {"": (-1, 3, 16, 16)})
        return conversion("torch", format)(load_source(request), models["torch"].parent, LIMITS)

    return lower


@pytest.fixture(scope="session")
def onnx_file(lowered: Callable[[str], Converted]) -> Path:
    """The torch network as a float ONNX file."""
    return lowered("onnx").path


@pytest.fixture(scope="session")
def tflite_file(lowered: Callable[[str], Converted]) -> Path:
    """The torch network as a float TFLite file."""
    return lowered("tflite").path


@pytest.fixture(scope="session")
def float_bundle(lowered: Callable[[str], Converted], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the torch network's float files in both formats."""
    from edgekit_runtime.bundle import write_bundle
    from edgekit_runtime.manifest import SCHEMA, Manifest, SourceInfo, SpecificationData, TensorInfo, Variant

    made = [lowered("onnx"), lowered("tflite")]
    backends = {"onnx": ("onnx",), "tflite": ("litert", "tflite")}
    variants = tuple(
        Variant(m.name, m.format, m.precision, f"models/{m.name}.{m.format}", m.inputs, m.outputs, backends[m.format])
        for m in made
    )
    ends = [TensorInfo(b.tensor, shape) for b, shape in ((made[0].inputs[0], (-1, 3, 16, 16)),
                                                         (made[0].outputs[0], (-1, 10)))]  # fmt: skip
    manifest = Manifest(SCHEMA, "net", "generic-cpu", "none", (ends[0],), (ends[1],), SpecificationData("tensor"),
                        variants, variants[0].name, SourceInfo("torch", "network", "0" * 64))  # fmt: skip
    path = tmp_path_factory.mktemp("bundle") / "net.edgekit"
    write_bundle(path, manifest, {v.file: m.path for v, m in zip(variants, made, strict=True)})
    return path


def calibration(count: int, shape: tuple[int, ...], name: str) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(1)
    return [{name: generator.random(shape, np.float32)} for _ in range(count)]
