"""Random but valid programs over every kind of step, and rows that they find hard."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from edgekit_converters.plaincode import ir

# Few numbers, so that values meet thresholds, table entries and each other.
POOL = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 0.1, 1e-3, 7.25])
GRID, EXACT, ROUGH, SINGLE = 0.0, 0.0, 1e-9, 1e-5


@dataclass
class Grown:
    """A program while it grows: registers with how far an answer may differ, and those of small whole numbers."""

    builder: ir.Builder
    bound: dict[int, float] = field(default_factory=dict)
    grid: set[int] = field(default_factory=set)
    registers: list[ir.Register] = field(default_factory=list)

    def add(self, step: ir.Step, bound: float = EXACT, grid: bool = False) -> ir.Register:
        register = self.builder.add(step)
        self.bound[register.index] = max([bound, *(self.bound[r.index] for r in step.sources)])
        if grid:
            self.grid.add(register.index)
        self.registers.append(register)
        return register


def rows_for(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """(count, width) of everyday and of hard numbers."""
    hard = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-40, 1e-36, 3e38, 16777217.0, 0.1 + 1e-9, -1.0])
    rows = np.where(
        rng.random((count, width)) < 0.5, rng.choice(POOL, (count, width)), rng.normal(0, 3, (count, width))
    )
    return np.where(rng.random((count, width)) < 0.15, rng.choice(hard, (count, width)), rows)


def random_trees(rng: np.random.Generator, source: ir.Register, width: int) -> ir.Trees:
    """A forest of small trees with every option on or off."""
    single_key, single, per_output = (bool(b) for b in rng.integers(0, 2, 3))
    nodes: list[list[float]] = []
    leaves: list[np.ndarray] = []
    sets: list[tuple[int, ...]] = []
    wide = 1 if per_output else width

    def grow(depth: int) -> int:
        if depth == 0 or rng.random() < 0.2:
            leaf = rng.choice(POOL, wide) if rng.random() < 0.5 else rng.normal(0, 1, wide)
            leaves.append(leaf.astype(np.float32).astype(float) if single else leaf)
            return -len(leaves)
        place = len(nodes)
        threshold = rng.choice(POOL) if rng.random() < 0.7 else rng.normal()
        chosen = -1
        if rng.random() < 0.25:
            sets.append(tuple(sorted({int(v) for v in rng.integers(0, 40, 3)})))
            chosen = len(sets) - 1
        threshold = float(np.float32(threshold)) if single_key else float(threshold)
        nodes.append([int(rng.integers(source.width)), threshold, 0, 0, int(rng.integers(2)), chosen])
        nodes[place][2] = grow(depth - 1)
        nodes[place][3] = grow(depth - 1)
        return place

    roots = [grow(int(rng.integers(0, 4))) for _ in range(int(rng.integers(1, 5)))]
    table = np.array(nodes, float).reshape(-1, 6)
    whole = table.astype(np.int64)
    output = rng.integers(0, width, len(roots)) if per_output else np.full(len(roots), -1)
    base = rng.choice([0.0, 0.5, 0.1], width)
    return ir.Trees(
        source, np.array(roots), whole[:, 0], table[:, 1], whole[:, 2], whole[:, 3], table[:, 4] > 0,
        np.array(leaves), base.astype(np.float32).astype(float) if single else base, output.astype(np.int64),
        whole[:, 5], tuple(sets), float(rng.choice([1.0, 3.0, 4.0])), single_key, single, bool(rng.integers(2)),
    )  # fmt: skip


def _values(rng: np.random.Generator, missing: bool = True) -> np.ndarray:
    values = rng.choice(POOL, int(rng.integers(1, 5)), replace=False)
    if rng.random() < 0.3:
        values = np.arange(len(values), dtype=float)
    return np.append(values, np.nan) if missing and rng.random() < 0.3 else values


def _constants(rng: np.random.Generator, width: int) -> np.ndarray:
    count = width if rng.random() < 0.6 else 1
    return rng.choice(POOL, count) if rng.random() < 0.5 else rng.normal(0, 2, count)


def _exact_step(kind: str, rng: np.random.Generator, grown: Grown, x: ir.Register) -> None:
    """One more step over an exact register."""
    width, add = x.width, grown.add
    column = int(rng.integers(width))
    missing = float(rng.choice([np.nan, np.nan, 0.0, 1.0]))
    flip = bool(rng.integers(2))
    match kind:
        case "round32":
            add(ir.Round32(x))
        case "clip":
            low = _constants(rng, width)
            add(ir.Clip(x, low, low.max() + np.abs(_constants(rng, width))))
        case "impute":
            add(ir.Impute(x, rng.choice(POOL, width), missing))
        case "is_missing":
            add(ir.IsMissing(x, missing), grid=True)
        case "zero_to_missing":
            columns = tuple(int(c) for c in rng.choice(width, int(rng.integers(1, width + 1)), replace=False))
            add(ir.ZeroToMissing(x, columns))
        case "known_only":
            add(ir.KnownOnly(x, column, _values(rng, missing=False)))
        case "encode":
            add(ir.Encode(x, column, _values(rng), flip), grid=True)
        case "replace":
            values = _values(rng)
            add(ir.Replace(x, column, values, rng.normal(0, 1, len(values)), float(rng.choice([np.nan, 2.0, 0.1]))))
        case "power":
            add(ir.Power(x, int(rng.integers(1, 7))))
        case "products":
            factors = tuple(
                tuple(int(c) for c in rng.integers(0, width, int(rng.integers(0, 4))))
                for _ in range(int(rng.integers(1, 5)))
            )
            add(ir.Products(x, factors))
        case "argmax":
            add(ir.Argmax(x, flip), grid=True)
        case "above":
            add(ir.Above(x, float(rng.choice(POOL)), flip), grid=True)
        case "median":
            add(ir.WeightedMedian(x, rng.random(width) + 0.01))
        case "votes":
            classes = int(rng.integers(2, 5))
            pairs = add(ir.Select(x, tuple(int(c) for c in rng.integers(0, width, classes * (classes - 1) // 2))))
            add(ir.PairVotes(pairs, classes), grid=True)
        case "coupling":
            classes = int(rng.integers(2, 5))
            columns = tuple(int(c) for c in rng.integers(0, width, classes * (classes - 1) // 2))
            wins = add(
                ir.Affine(
                    add(ir.Above(x, float(rng.choice(POOL))), grid=True), add=np.array([0.3]), divide=np.array([2.0])
                )
            )
            add(ir.PairCoupling(add(ir.Select(wins, columns)), classes), ROUGH)
        case "interpolate":
            xs = np.sort(rng.choice(POOL, int(rng.integers(1, 6)), replace=False))
            add(ir.Interpolate(x, xs, rng.normal(0, 1, len(xs))))
        case "trees":
            add(random_trees(rng, x, int(rng.integers(1, 4))))
        case "function":
            function = str(rng.choice(["negate", "square", "sqrt", "abs", "relu", "sign"]))
            add(ir.Apply(x, function, flip and function != "sign"), grid=function == "sign")
        case "nearest":
            count = int(rng.integers(1, width + 1))
            add(ir.Nearest(x, count, rng.normal(0, 1, (width, int(rng.integers(1, 3))))), ROUGH)
        case "multiply":
            y = grown.registers[int(rng.integers(len(grown.registers)))]
            if grown.bound[y.index] == EXACT and (y.width in {1, width} or width == 1):
                add(ir.Arithmetic(x, y, str(rng.choice(["*", "/", "-"])), flip))
        case _:
            raise AssertionError(kind)


EXACT_KINDS = (
    "round32", "clip", "impute", "is_missing", "zero_to_missing", "known_only", "encode", "replace", "power",
    "products", "argmax", "above", "median", "votes", "trees", "function", "nearest", "multiply", "coupling",
    "interpolate",
)  # fmt: skip
ANY_KINDS = (
    "select", "concat", "constant", "affine", "plus", "dense", "softmax", "reduce", "normalize", "smooth", "kernel",
)  # fmt: skip


def _any_step(kind: str, rng: np.random.Generator, grown: Grown, x: ir.Register) -> None:
    """One more step over any register: smooth ones only, so that a difference in the last digit stays one."""
    width, add, flip = x.width, grown.add, bool(rng.integers(2))
    exact = grown.bound[x.index] == EXACT
    match kind:
        case "select":
            start = int(rng.integers(width))
            run = tuple(range(start, int(rng.integers(start, width)) + 1))
            add(ir.Select(x, run if flip else tuple(int(c) for c in rng.integers(0, width, 3))))
        case "concat":
            parts = [grown.registers[i] for i in rng.integers(0, len(grown.registers), int(rng.integers(1, 4)))]
            add(ir.Concat((x, *parts)))
        case "constant":
            add(ir.Concat((x, add(ir.Constant(rng.choice(POOL, int(rng.integers(1, 3))))))))
        case "affine":
            given = [_constants(rng, width) if rng.random() < 0.6 else None for _ in range(4)]
            add(ir.Affine(x, *given, single=flip and exact))
        case "plus":
            y = grown.registers[int(rng.integers(len(grown.registers)))]
            if y.width in {1, width} or width == 1:
                add(ir.Arithmetic(x, y, str(rng.choice(["+", "-"]))))
        case "dense":
            weights = rng.normal(0, 1, (width, int(rng.integers(1, 4))))
            add(ir.Dense(x, weights, rng.normal(0, 1, weights.shape[1]) if flip else None), ROUGH)
        case "softmax":
            add(ir.Softmax(x, flip and exact), SINGLE if flip else ROUGH)
        case "reduce":
            group = int(rng.choice([g for g in range(1, width + 1) if width % g == 0]))
            operation = str(rng.choice(["sum", "mean", "max", "min", "logsumexp"]))
            add(ir.Reduce(x, operation, group), ROUGH if operation == "logsumexp" else EXACT)
        case "normalize":
            if exact:  # a sum of 0 is asked for
                add(ir.Normalize(x, str(rng.choice(["l1", "l2"]))), ROUGH)
        case "smooth":
            functions = ["tanh", "logistic", *(["exp", "exp2", "expm1", "log", "log1p"] if exact else [])]
            add(ir.Apply(x, str(rng.choice(functions)), flip and exact), SINGLE if flip else ROUGH)
        case "kernel":
            metric = str(rng.choice(["squared", "manhattan", "chebyshev"]))
            points, grid = int(rng.integers(1, 6)), x.index in grown.grid
            shape = (points, width)
            at = rng.integers(0, 3, shape).astype(float) if grid else rng.normal(0, 1, shape)
            scale = rng.choice([1.0, 0.5], shape) if flip else None
            distances = add(ir.Distances(x, at, metric, scale), EXACT if grid else ROUGH)
            if grid:
                targets = rng.normal(0, 1, (points, int(rng.integers(1, 3))))
                count = int(rng.integers(1, points + 1))
                add(ir.Nearest(distances, count, targets, bool(rng.integers(2)), bool(rng.integers(2))), ROUGH)
        case _:
            raise AssertionError(kind)


@st.composite
def programs(draw: st.DrawFn) -> tuple[ir.Program, dict[str, float]]:
    """A program that answers with each of its registers, and how far each answer may differ (0: not at all)."""
    width = draw(st.integers(1, 5))
    kinds = draw(st.lists(st.sampled_from((*EXACT_KINDS, *ANY_KINDS)), min_size=1, max_size=8))
    return program_of(width, kinds, draw(st.integers(0, 1 << 30)))


def program_of(width: int, kinds: list[str], seed: int) -> tuple[ir.Program, dict[str, float]]:
    rng = np.random.default_rng(seed)
    grown = Grown(ir.Builder([ir.Feature(f"x{i}", missing=True) for i in range(width)]))
    row = grown.builder.row
    grown.bound[0] = EXACT
    grown.registers.append(row)
    if seed % 3 == 0:  # as sources do that cast their input
        grown.registers = []
        grown.add(ir.Round32(row))
    for kind in kinds:
        recent = [r for r in grown.registers[-4:] if r.width <= 64]
        if kind in EXACT_KINDS:
            recent = [r for r in recent if grown.bound[r.index] == EXACT]
        if not recent:
            continue
        x = recent[int(rng.integers(len(recent)))]
        (_exact_step if kind in EXACT_KINDS else _any_step)(kind, rng, grown, x)
    methods: dict[str, tuple[ir.Answer, ...]] = {f"m{r.index}": (ir.Answer(r),) for r in grown.registers}
    picked = [grown.registers[i] for i in rng.integers(0, len(grown.registers), 2)]
    methods["several"] = tuple(ir.Answer(r) for r in picked)
    bounds = {f"m{r.index}": grown.bound[r.index] for r in grown.registers}
    bounds["several"] = max(grown.bound[r.index] for r in picked)
    return grown.builder.program(methods, f"random {seed}"), bounds


def differs(found: np.ndarray, wanted: np.ndarray, bound: float, scale: float) -> bool:
    """Whether two answers differ by more than a bound that grows with the largest number on the way."""
    if bound == EXACT:
        return not np.array_equal(found, wanted, equal_nan=True)
    return not np.allclose(found, wanted, rtol=bound, atol=bound * max(scale, 1.0), equal_nan=True)
