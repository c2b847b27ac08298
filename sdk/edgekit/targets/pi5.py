"""Raspberry Pi 5: 64-bit Arm Cortex-A76 (dot-product instructions), Raspberry Pi OS bookworm or trixie."""

from edgekit.targets.target import Target
from edgekit_converters.limits import TargetLimits
from edgekit_converters.placement import integer_kernels, xnnpack

TARGET = Target(
    name="pi5",
    title="Raspberry Pi 5, 64-bit",
    limits=TargetLimits(
        formats=("tflite", "c", "onnx"),
        precisions=("int8", "fp32"),
        max_opset=20,
        max_ir=10,
        channels_last=True,
        memory_bytes=2 * 2**30,
        machines=("aarch64",),
    ),
    backends={"tflite": ("litert", "tflite"), "onnx": ("onnx",), "c": ("plain",)},
    python=("3.11", "3.13"),
    extra="litert",
    placement={"tflite": xnnpack.measure, "onnx": integer_kernels.measure},
)
