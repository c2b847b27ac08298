"""What a target allows, as the converters need to know it: frozen data, handed in by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit_converters.plaincode.emitter import EmitSettings


@dataclass(frozen=True)
class TargetLimits:
    """Limits of a target.

    Attributes:
        formats: Model formats it runs, best first.
        precisions: Precisions worth trying, best first (``int8``, ``fp16``, ``w8a16``, ``dynamic``, ``fp32``).
        max_opset: Highest ONNX opset its runtimes take.
        max_ir: Highest ONNX IR version they take.
        op_versions: Highest TFLite op version by op name (``FULLY_CONNECTED``: 11); empty for any.
        signed_activations: Whether ONNX QDQ activations must be signed and symmetric (TensorRT) or may be uint8.
        channels_last: Whether picture inputs should be height x width x channels.
        dense_per_channel: Whether its TFLite kernels know dense layers quantized per channel. The Edge TPU's compiler
            does not, nor does TFLite Micro of before 2024, which takes such a file and computes something else.
        integer_io: Whether quantized models take and give whole numbers (int8) at their ends.
        static_shapes: Whether every extent must be fixed, batch 1 included.
        memory_bytes: Memory a model may need (`needs.memory_bytes`), None where it does not matter.
        code: How plain code is written for it.
        machines: Machines (``aarch64``, ``armv7l``, ``cortex-m4``, …) that plain code must be compiled for; builds for
            other machines are made too where their compilers are here.
    """

    formats: tuple[str, ...]
    precisions: tuple[str, ...] = ("int8", "fp32")
    max_opset: int = 20
    max_ir: int = 10
    op_versions: Mapping[str, int] = field(default_factory=dict)
    signed_activations: bool = False
    channels_last: bool = False
    dense_per_channel: bool = True
    integer_io: bool = False
    static_shapes: bool = False
    memory_bytes: int | None = None
    code: EmitSettings = field(default_factory=EmitSettings)
    machines: tuple[str, ...] = ()
