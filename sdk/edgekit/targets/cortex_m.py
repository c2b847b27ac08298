"""Microcontrollers with an Arm Cortex-M: classic models as C, compiled here, leaves summed in whole numbers."""

from edgekit.targets.target import Target
from edgekit_converters.limits import TargetLimits
from edgekit_converters.plaincode.emitter import EmitSettings


def _cortex(name: str, title: str, *notes: str) -> Target:
    return Target(
        name=name,
        title=title,
        limits=TargetLimits(
            formats=("c",),
            precisions=("int32", "fp32", "fp64"),
            code=EmitSettings(leaves="fixed", in_order=True),  # sums of float64 without a unit for it cost most time
            machines=(name,),
        ),
        backends={"c": ("plain",)},
        python=("3.9", "3.10", "3.11", "3.12", "3.13"),  # of the computer that tries the bundle; the chip has none
        extra="plain",
        notes=(
            "`edgekit export --unpack DIR` writes the C for the firmware, `edgekit benchmark` counts instructions.",
            *notes,
        ),
    )


M0 = _cortex("cortex-m0", "Arm Cortex-M0, M0+")
M3 = _cortex("cortex-m3", "Arm Cortex-M3")
M4 = _cortex("cortex-m4", "Arm Cortex-M4 with FPU")
M7 = _cortex("cortex-m7", "Arm Cortex-M7 with double-precision FPU")
M33 = _cortex(
    "cortex-m33",
    "Arm Cortex-M33 with FPU",
    "Instructions are not counted: qemu's boards with it start in a secure world of their own.",
)
