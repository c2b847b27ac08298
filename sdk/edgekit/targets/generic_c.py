"""C for any machine: classic models as plain code, with builds for the Linux machines whose compilers are here."""

from edgekit.targets.target import Target
from edgekit_converters.limits import TargetLimits

TARGET = Target(
    name="generic-c",
    title="anything with a C99 compiler",
    limits=TargetLimits(formats=("c",), precisions=("fp64", "fp32", "int32")),
    backends={"c": ("plain",)},
    python=("3.9", "3.10", "3.11", "3.12", "3.13"),
    extra="plain",
    notes=("Classic models (scikit-learn, XGBoost, LightGBM) alone become plain code; --unpack DIR writes it out.",),
)
