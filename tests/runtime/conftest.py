"""A tiny bundle that every device test can use: ``2 * x`` in both formats, with golden samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from edgekit_runtime.backends import backend
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.manifest import (
    SCHEMA,
    Binding,
    Expectation,
    Golden,
    GoldenSample,
    Manifest,
    SourceInfo,
    SpecificationData,
    TensorInfo,
    Tolerance,
    Variant,
)
from edgekit_runtime.samples import array_bytes

# for emulated boards, where drawing alone takes seconds: `--hypothesis-profile=board`
settings.register_profile("board", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])

X = np.array([[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 0.0, 7.0]], np.float32)


def double_manifest(expected_scale: float = 2.0) -> tuple[Manifest, dict[str, bytes]]:
    members = {
        "models/double.tflite": backend("litert").probe_model(),
        "models/double.onnx": backend("onnx").probe_model(),
        "golden/expected.npy": array_bytes(X * np.float32(expected_scale)),
    }
    members.update({f"golden/{i}.npy": array_bytes(row) for i, row in enumerate(X)})
    ends = {"inputs": (Binding("x", "x", (1, 4)),), "outputs": (Binding("y", "y", (1, 4)),)}
    variants = (
        Variant("tflite-fp32", "tflite", "fp32", "models/double.tflite", backends=("litert", "tflite"), **ends),
        Variant("onnx-fp32", "onnx", "fp32", "models/double.onnx", backends=("onnx",), **ends),
    )
    exact = {v.name: Tolerance(0.0) for v in variants}
    manifest = Manifest(
        schema=SCHEMA,
        name="double",
        target="generic-cpu",
        task="none",
        inputs=(TensorInfo("x", (1, 4)),),
        outputs=(TensorInfo("y", (1, 4)),),
        specification=SpecificationData("tensor"),
        variants=variants,
        chosen="tflite-fp32",
        source=SourceInfo("onnx", "double.onnx", "0" * 64),
        golden=Golden(
            samples=tuple(GoldenSample(f"golden/{i}.npy") for i in range(len(X))),
            expected=tuple(
                Expectation(v.name, v.backends[0], "1", "x86_64", {"y": "golden/expected.npy"}) for v in variants
            ),
            same_backend=exact,
            other_backend=exact,
        ),
    )
    return manifest, members


@pytest.fixture
def double(tmp_path: Path) -> Path:
    """Path of a good bundle."""
    manifest, members = double_manifest()
    path = tmp_path / "double.edgekit"
    write_bundle(path, manifest, members)
    return path
