"""Raspberry Pi 3 with a 32-bit system: TFLite by tflite-runtime 2.14 only."""

from edgekit.targets.target import Target
from edgekit_converters.limits import TargetLimits
from edgekit_converters.placement import integer_kernels, xnnpack

# tflite-runtime 2.14.0 is the last one with armv7 wheels; it refuses op versions that came after it.
# The two seen in practice (GATHER_ND v5 from litert-torch, FULLY_CONNECTED v12 from Keras' dynamic range).
_OP_VERSIONS = {"GATHER_ND": 4, "FULLY_CONNECTED": 11}

TARGET = Target(
    name="pi3",
    title="Raspberry Pi 3, 32-bit",
    limits=TargetLimits(
        formats=("tflite", "c"),
        precisions=("int8", "fp32"),
        op_versions=_OP_VERSIONS,
        channels_last=True,
        memory_bytes=512 * 2**20,
        machines=("armv7l",),
    ),
    backends={
        "tflite": ("tflite", "litert"),
        "c": ("plain",),
    },  # litert judges it on the workstation, where tflite-runtime cannot be
    python=("3.11",),
    extra="tflite",
    placement={"tflite": xnnpack.measure, "onnx": integer_kernels.measure},
    notes=(
        "32-bit Arm has wheels for tflite-runtime up to Python 3.11 only, and takes numpy from Debian (python3-numpy).",
    ),
)
