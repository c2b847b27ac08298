"""Coral Edge TPU: int8 TFLite, whole numbers at both ends, fixed shapes; the Edge TPU compiler comes after."""

from edgekit.targets.target import Compiler, Target
from edgekit_converters.limits import TargetLimits
from edgekit_converters.placement.edgetpu import predict
from edgekit_converters.placement.edgetpu_compiler import PROGRAM, command, compile_and_compare

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
    compiler=Compiler(PROGRAM, "edgetpu", "edgetpu", command, compile_and_compare),
    notes=(
        "With `edgetpu_compiler` on PATH the bundle holds the compiled model and its CPU twin, else the twin alone.",
        "Weights beyond the 8 MiB that the Edge TPU keeps are fetched at every inference: slower, not refused.",
    ),
)
