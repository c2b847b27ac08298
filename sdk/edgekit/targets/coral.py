"""Coral Edge TPU: int8 TFLite, whole numbers at both ends, fixed shapes; the Edge TPU compiler comes after."""

from edgekit.targets.target import Target
from edgekit_converters.limits import TargetLimits
from edgekit_converters.placement.edgetpu import predict

TARGET = Target(
    name="coral",
    title="Google Coral Edge TPU",
    limits=TargetLimits(
        formats=("tflite",),
        precisions=("int8",),
        channels_last=True,
        dense_per_channel=False,
        integer_io=True,
        static_shapes=True,
    ),
    backends={"tflite": ("litert", "tflite")},
    python=("3.9", "3.11", "3.13"),
    extra="litert",
    placement={"tflite": predict},
    notes=(
        "This is the CPU twin, not yet compiled for the Edge TPU: run `edgetpu_compiler -s MODEL.tflite` on it.",
        "Weights beyond the 8 MiB that the Edge TPU keeps are fetched at every inference: slower, not refused.",
    ),
)
