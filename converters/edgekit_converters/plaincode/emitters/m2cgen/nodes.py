"""m2cgen's expressions, the few that it lacks, and short words to build them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from m2cgen.ast import BinNumExpr, BinNumOpType, CompExpr, CompOpType, Expr, IfExpr, NumVal, VectorVal

__all__ = ["Expr", "VectorVal"]


class NameExpr(Expr):  # type: ignore[misc] # m2cgen is untyped
    """A parameter or variable."""

    def __init__(self, name: str, vector: bool) -> None:
        self.name, self.vector = name, vector


class ItemExpr(Expr):  # type: ignore[misc]
    """One number of a vector that has a name."""

    def __init__(self, vector: NameExpr, index: int) -> None:
        self.vector, self.index = vector, int(index)


class CallExpr(Expr):  # type: ignore[misc]
    """A call of a function that was written before."""

    def __init__(self, function: str, arguments: Sequence[Expr], width: int = 1, vector: bool = False) -> None:
        self.function, self.arguments = function, tuple(arguments)
        self.output_size, self.vector = width, vector


class SingleExpr(Expr):  # type: ignore[misc]
    """A number rounded to the nearest float32.

    Sums, products and quotients of float32 numbers that are computed in float64 and then rounded are those of float32
    arithmetic, since 53 bits are more than twice 24 and 2.
    """

    def __init__(self, expr: Expr) -> None:
        self.expr = expr


class JoinExpr(Expr):  # type: ignore[misc]
    """Vectors, one after the other."""

    def __init__(self, parts: Sequence[Expr]) -> None:
        self.parts = tuple(parts)


def number(value: float) -> Expr:
    return NumVal(float(value))


def add(left: Expr, right: Expr) -> Expr:
    return BinNumExpr(left, right, BinNumOpType.ADD)


def subtract(left: Expr, right: Expr) -> Expr:
    return BinNumExpr(left, right, BinNumOpType.SUB)


def multiply(left: Expr, right: Expr) -> Expr:
    return BinNumExpr(left, right, BinNumOpType.MUL)


def divide(left: Expr, right: Expr) -> Expr:
    return BinNumExpr(left, right, BinNumOpType.DIV)


def rounded(operation: Callable[[Expr, Expr], Expr], single: bool) -> Callable[[Expr, Expr], Expr]:
    """An operation in float32 where `single`."""
    return (lambda left, right: SingleExpr(operation(left, right))) if single else operation


def compare(left: Expr, operator: str, right: Expr | float) -> Expr:
    return CompExpr(left, right if isinstance(right, Expr) else number(right), CompOpType(operator))


def is_number(value: Expr) -> Expr:
    """Whether it is not NaN; NaN is at most nothing."""
    return compare(value, "<=", float("inf"))


def choose(test: Expr, yes: Expr, no: Expr) -> Expr:
    return IfExpr(test, yes, no)


def items(vector: NameExpr, width: int) -> list[Expr]:
    return [ItemExpr(vector, i) for i in range(width)]
