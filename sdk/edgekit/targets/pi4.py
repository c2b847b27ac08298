"""Raspberry Pi 4: 64-bit Arm Cortex-A72 (no dot-product instructions, so int8 gains less)."""

from edgekit.targets.target import Target
from edgekit_converters.limits import TargetLimits
from edgekit_converters.placement import integer_kernels, xnnpack

TARGET = Target(
    name="pi4",
    title="Raspberry Pi 4, 64-bit",
    limits=TargetLimits(
        formats=("tflite", "c", "onnx"),
        precisions=("int8", "fp32"),
        max_opset=20,
        max_ir=10,
        channels_last=True,
        memory_bytes=2**30,
        machines=("aarch64",),
    ),
    backends={"tflite": ("litert", "tflite"), "onnx": ("onnx",), "c": ("plain",)},
    python=("3.11", "3.13"),
    extra="litert",
    placement={"tflite": xnnpack.measure, "onnx": integer_kernels.measure},
    notes=("The Cortex-A72 has no dot-product instructions: int8 is smaller, and faster by less than on a Pi 5.",),
)
