"""A small picture classifier as an ONNX file, and as a bundle around the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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

NAME = "shapes"
SHAPE = (3, 16, 16)
CLASSES = 5


def onnx_model() -> bytes:
    """Convolution, pooling, a dense layer and a softmax, with weights of a fixed seed; any number of pictures."""
    from onnx import TensorProto, checker, helper, numpy_helper

    generator = np.random.default_rng(11)

    def weights(name: str, *shape: int) -> object:
        return numpy_helper.from_array(generator.normal(0, 0.5, shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "k", "kb"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "w", "b"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        ],
        NAME,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *SHAPE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        [weights("k", 8, 3, 3, 3), weights("kb", 8), weights("w", 8, CLASSES), weights("b", CLASSES)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """(count, 3, 16, 16) float32."""
    return np.random.default_rng(seed).normal(0, 1, (count, *SHAPE)).astype(np.float32)


def bundle(path: Path, model: bytes) -> None:
    """Write the model as a bundle that takes tensors as they are."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    samples = pictures(2, seed=5)
    expected = session.run(None, {"image": samples})[0]
    variant = Variant(
        "onnx-fp32",
        "onnx",
        "fp32",
        "models/shapes.onnx",
        (Binding("image", "image", (1, *SHAPE)),),
        (Binding("scores", "scores", (1, CLASSES)),),
        ("onnx",),
    )
    manifest = Manifest(
        schema=SCHEMA,
        name=NAME,
        target="generic-cpu",
        task="none",
        inputs=(TensorInfo("image", (1, *SHAPE)),),
        outputs=(TensorInfo("scores", (1, CLASSES)),),
        specification=SpecificationData("tensor"),
        variants=(variant,),
        chosen="onnx-fp32",
        source=SourceInfo("onnx", "shapes.onnx", "0" * 64),
        golden=Golden(
            samples=tuple(GoldenSample(f"golden/{i}.npy") for i in range(len(samples))),
            expected=(Expectation("onnx-fp32", "onnx", "1", "x86_64", {"scores": "golden/scores.npy"}),),
            same_backend={"onnx-fp32": Tolerance(0.0, 1e-5)},
        ),
    )
    members = {f"golden/{i}.npy": array_bytes(sample) for i, sample in enumerate(samples)}
    write_bundle(path, manifest, {"models/shapes.onnx": model, "golden/scores.npy": array_bytes(expected), **members})
