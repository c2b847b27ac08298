"""C that adds leaves: in the source's own number type and order (`exact`), in float32, or in whole numbers.

- `exact`: float64, or float32 where the source adds in float32; the sums are equal to the source's to the bit.
- `float`: leaves, base and sums in float32. With u = 2**-24, n numbers added and S the sum of the trees' largest
  absolute leaves and of the base, |error| <= (n + 3) u S / divisor.
- `fixed`: leaves times a power of two, rounded to whole numbers, added in int32; the power is the largest one that
  keeps every partial sum of rounded leaves within int32. |error| <= (n / 2 / power + 4 u S) / divisor, the second
  part for the conversion of the sum to float; and (n + 3) u S / divisor more where the source adds in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.emitters.c.trees_plan import Plan
from edgekit_converters.plaincode.emitters.c.trees_text import lines, literal, table, unsigned_type
from edgekit_converters.plaincode.ir import Trees

_UNIT = 2.0**-24
_SLACK = 1.01  # the formulas above leave out terms in u**2
_HALF = 0.5
_EXPONENTS = (-100, 100)
_MANY_OUTPUTS = 2**16


@dataclass(frozen=True, eq=False)
class Sums:
    """How leaves are added.

    Attributes:
        kind: C type of leaves and totals.
        out: C type of answers.
        leaves: (distinct, k) numbers of type `kind`.
        ids: (leaves,) row of `leaves` for each leaf of the plan.
        base: (outputs,) likewise, that totals begin with, or end with if `base_last`.
        base_last: Whether the base is added last.
        scale: Power of two that whole numbers were multiplied by; 1 otherwise.
        divisor: That totals are divided by.
        output: (trees,) output that each tree adds to; empty where each adds to all of them.
        error: Bound on the absolute difference from the source's answer; 0 for `exact`.
    """

    kind: str
    out: str
    leaves: np.ndarray
    ids: np.ndarray
    base: np.ndarray
    base_last: bool
    scale: float
    divisor: float
    output: np.ndarray
    error: float

    @property
    def width(self) -> int:
        """Number of outputs."""
        return len(self.base)

    @property
    def columns(self) -> int:
        """Numbers in a leaf."""
        return int(self.leaves.shape[1])

    @property
    def turns(self) -> bool:
        """Whether tree t adds to output t modulo `width`."""
        return bool((self.output == np.arange(len(self.output)) % self.width).all())

    def tables(self, name: str, padding: int = 0) -> str:
        """Outputs of trees, where there must be a table; `padding` trees more add to output 0."""
        if self.width == 1 or not len(self.output) or self.turns:
            return ""
        return table(unsigned_type(self.width), f"{name}_outputs", np.pad(self.output, (0, padding)))

    def begin(self, indent: str = "    ", total: str = "total") -> str:
        """Declares the totals."""
        numbers = ", ".join(literal(0 if self.base_last else b, self.kind) for b in self.base)
        if self.width == 1:
            return f"{indent}{self.kind} {total} = {numbers};\n"
        return f"{indent}{self.kind} {total}[{self.width}] = {{{numbers}}};\n"

    def add(self, name: str, tree: str, leaf: str, indent: str = "        ", total: str = "total") -> str:
        """Adds leaf number `leaf` of tree `tree`; ``NAME_leaves`` holds `leaves`."""
        if self.width == 1:
            return f"{indent}{total} += {name}_leaves[{leaf}];\n"
        if len(self.output):
            output = f"{tree} % {self.width}u" if self.turns else f"{name}_outputs[{tree}]"
            return f"{indent}{total}[{output}] += {name}_leaves[{leaf}];\n"
        return (
            f"{indent}for (uint32_t o = 0; o < {self.width}; o++)\n"
            f"{indent}    {total}[o] += {name}_leaves[{leaf} * {self.width}u + o];\n"
        )

    def end(self, indent: str = "    ", total: str = "total", out: str = "out") -> str:
        """Writes the answers."""
        if self.width == 1:
            last = literal(self.base[0], self.kind) if self.base_last else ""
            return f"{indent}{out}[0] = {self._answer(total, last)};\n"
        if self.base_last and (self.base != self.base[0]).any():
            return "".join(
                f"{indent}{out}[{o}] = {self._answer(f'{total}[{o}]', literal(b, self.kind))};\n"
                for o, b in enumerate(self.base)
            )
        last = literal(self.base[0], self.kind) if self.base_last else ""
        answer = self._answer(f"{total}[o]", last)
        return f"{indent}for (uint32_t o = 0; o < {self.width}; o++)\n{indent}    {out}[o] = {answer};\n"

    def _answer(self, total: str, base: str) -> str:
        value = f"({total} + {base})" if base else total
        if self.kind == "int32_t":
            return f"(float){value} * {literal(1.0 / self.scale / self.divisor, 'float')}"
        return value if self.divisor == 1 else f"{value} / {literal(self.divisor, self.kind)}"


def sums(plan: Plan, leaves: str) -> Sums:
    """How the leaves of some trees are added.

    Raises:
        ConversionError: float32 does not hold them.
    """
    step = plan.step
    single = step.single or leaves != "exact"
    values = np.asarray(step.leaves, np.float64)[plan.values] + 0.0  # no -0.0: adding it changes nothing
    base = np.asarray(step.base, np.float64) + 0.0
    sizes, counts = _sizes(plan, np.abs(values), np.abs(base))
    largest = float(sizes.max(initial=0.0))
    if single and not largest < float(np.finfo(np.float32).max):
        raise ConversionError("the trees' leaves do not fit float32", "keep exact leaves")
    scale, error, kind = 1.0, 0.0, "float" if single else "double"
    added = int(counts.max(initial=0)) + 1
    if leaves == "fixed":
        kind, scale = "int32_t", _scale(sizes, counts)
        values, base = np.rint(values * scale), np.rint(base * scale)
        source = added + 3 if step.single else 0
        error = _SLACK * (added * _HALF / scale + (4 + source) * _UNIT * largest) / abs(step.divisor)
    elif single:
        values, base = (np.asarray(v, np.float32).astype(np.float64) for v in (values, base))
        error = 0.0 if step.single else _SLACK * (added + 3) * _UNIT * largest / abs(step.divisor)
    distinct, ids = _distinct(values)
    out = "double" if kind == "double" else "float"
    output = step.output if (step.output >= 0).all() else step.output[:0]
    return Sums(kind, out, distinct, ids, base, step.base_last, scale, step.divisor, output, error)


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that differ, sorted, and which one each row is; column by column, many times faster than of whole rows."""
    ids = np.zeros(len(values), np.int64)
    for column in values.T:
        numbers, place = np.unique(column, return_inverse=True)
        ids = np.unique(ids * len(numbers) + place, return_inverse=True)[1]
    first = np.unique(ids, return_index=True)[1]
    return values[first], ids.reshape(-1)


def _sizes(plan: Plan, values: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(outputs,) sum of the trees' largest absolute leaves and of the base; number of leaves added."""
    tree = np.repeat(np.arange(plan.trees), np.diff(plan.first) + 1)
    largest = np.zeros((plan.trees, values.shape[1]))
    np.maximum.at(largest, tree, values)
    output = plan.step.output
    if (output < 0).all():
        return largest.sum(axis=0) + base, np.full(len(base), plan.trees)
    sizes = base.copy()
    np.add.at(sizes, output, largest[:, 0])
    return sizes, np.bincount(output, minlength=len(base))


def _scale(sizes: np.ndarray, counts: np.ndarray) -> float:
    """The largest power of two whose products, each rounded up to half a unit, add up within int32."""
    fits = [math.log2((2**31 - 2 - (c + 1) * _HALF) / s) for s, c in zip(sizes, counts, strict=True) if s > 0]
    low, high = _EXPONENTS
    return math.ldexp(1.0, max(low, min(high, math.floor(min(fits, default=0.0)))))


def constant(plan: Plan, name: str, settled: Sums, argument: str) -> str:
    """The function of trees that are single leaves all: the sum is known now."""
    total = _constant_total(plan.step, plan, settled)
    body = "".join(f"    out[{o}] = {literal(t, settled.out)};\n" for o, t in enumerate(total))
    return lines(
        f"static void {name}(const {argument} *x, {settled.out} *out)\n{{\n    (void)x;\n{body}}}\n",
    )


def _constant_total(step: Trees, plan: Plan, settled: Sums) -> np.ndarray:
    kind = {"double": np.float64, "float": np.float32, "int32_t": np.int64}[settled.kind]
    base = settled.base.astype(kind)
    total = np.zeros_like(base) if step.base_last else base.copy()
    leaves = settled.leaves.astype(kind)
    for tree in range(plan.trees):
        leaf = leaves[settled.ids[plan.first[tree] + tree]]
        if len(settled.output):
            total[settled.output[tree]] += leaf[0]
        else:
            total += leaf
    total = total + base if step.base_last else total
    if settled.kind == "int32_t":
        return np.asarray(total / settled.scale / settled.divisor)
    return np.asarray(total / np.asarray(settled.divisor, kind) if settled.divisor != 1 else total, np.float64)
