"""The representation: a program of few kinds of steps over vectors of numbers, whatever library the model came from.

A reader builds a `Program` with a `Builder`; an emitter writes it in a language; `reference` runs it in numpy. Steps
are in single-assignment form: each writes one register, a vector of fixed width, and reads earlier ones. Register 0
is the row as it is given. Arithmetic is float64 unless a step says `single`; a formula is evaluated in the order that
its docstring writes, since sources round in that order.
"""

from edgekit_converters.plaincode.ir.base import CATEGORY, NUMBER, TEXT, Feature, Register, Step
from edgekit_converters.plaincode.ir.program import Answer, Builder, Program
from edgekit_converters.plaincode.ir.steps import (
    FUNCTIONS,
    Above,
    Affine,
    Apply,
    Argmax,
    Arithmetic,
    Clip,
    Concat,
    Constant,
    Dense,
    Distances,
    Encode,
    Impute,
    IsMissing,
    KnownOnly,
    Nearest,
    Normalize,
    PairVotes,
    Power,
    Products,
    Reduce,
    Replace,
    Round32,
    Select,
    Softmax,
    WeightedMedian,
    Words,
    ZeroToMissing,
)
from edgekit_converters.plaincode.ir.trees import Trees

__all__ = [
    "CATEGORY",
    "FUNCTIONS",
    "NUMBER",
    "TEXT",
    "Above",
    "Affine",
    "Answer",
    "Apply",
    "Argmax",
    "Arithmetic",
    "Builder",
    "Clip",
    "Concat",
    "Constant",
    "Dense",
    "Distances",
    "Encode",
    "Feature",
    "Impute",
    "IsMissing",
    "KnownOnly",
    "Nearest",
    "Normalize",
    "PairVotes",
    "Power",
    "Products",
    "Program",
    "Reduce",
    "Register",
    "Replace",
    "Round32",
    "Select",
    "Softmax",
    "Step",
    "Trees",
    "WeightedMedian",
    "Words",
    "ZeroToMissing",
]
