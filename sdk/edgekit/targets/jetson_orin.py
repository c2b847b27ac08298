"""NVIDIA Jetson Orin with JetPack 6 or 7: ONNX, with signed symmetric QDQ so that TensorRT takes it."""

from edgekit.targets.target import Target
from edgekit_converters.limits import TargetLimits
from edgekit_converters.placement.tensorrt import check

TARGET = Target(
    name="jetson-orin",
    title="NVIDIA Jetson Orin, JetPack 6/7",
    limits=TargetLimits(
        formats=("c", "onnx"),
        precisions=("int8", "fp16", "fp32"),
        max_opset=19,  # TensorRT 10.3 of JetPack 6.2 parses opset 9 to 20; onnxruntime 1.18 and later take 19
        max_ir=10,
        signed_activations=True,
        memory_bytes=4 * 2**30,
        machines=("aarch64",),
    ),
    backends={"onnx": ("tensorrt", "onnx", "onnx-tensorrt", "onnx-cuda"), "c": ("plain",)},
    python=("3.10", "3.12"),
    extra="onnx",
    placement={"onnx": check},
    notes=(
        "JetPack 6 brings Python 3.10, JetPack 7 Python 3.12; JetPack 5 needs a Python of 3.9 or newer of your own.",
        "TensorRT comes with JetPack, never from PyPI; the engine is built on the board.",
    ),
)
