"""Trees in C, in every layout and with every kind of leaves, against the reference interpreter."""

from __future__ import annotations

import ctypes
import itertools
import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir, reference
from edgekit_converters.plaincode.emitter import LEAVES, EmitSettings
from edgekit_converters.plaincode.emitters.c.trees import TreeCode, tree_code
from tests.converters.plaincode.random_trees import ODD, Shape, chain, rows_of, shapes, trees_of

pytestmark = pytest.mark.tool("cc")

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
LAYOUTS = {"flight": {"layout": "speed"}, "branches": {"layout": "speed", "in_order": True}, "size": {"layout": "size"}}
_COUNT = itertools.count()
_HEAD = "#include <stdint.h>\n#include <string.h>\n"


def wrapper(code: TreeCode) -> str:
    """A public function over many rows, by the single-row one and, if `many`, by the many-rows one."""
    loop = f"for (; rows; rows--, x += width, out += outputs) {code.function}(x, out);"
    rows = (
        f"if (many) {code.rows_function}(x, out, rows, width, outputs); else" if code.rows_function else "(void)many;"
    )
    return (
        f"void run_{code.function}(const {code.key} *x, {code.out} *out, size_t rows, size_t width, size_t outputs, int many);\n"
        f"void run_{code.function}(const {code.key} *x, {code.out} *out, size_t rows, size_t width, size_t outputs, int many)\n"
        f"{{\n    {rows}\n    {loop}\n}}\n"
    )


def compiled(folder: Path, codes: list[TreeCode], *flags: str) -> ctypes.CDLL:
    source = folder / f"trees{next(_COUNT)}.c"
    source.write_text(_HEAD + "".join(c.definitions + wrapper(c) for c in codes))
    library = source.with_suffix(".so")
    subprocess.run(
        ["cc", *STRICT, *(flags or ("-O2",)), "-fPIC", "-shared", "-o", library, source], check=True, timeout=300
    )
    return ctypes.CDLL(str(library))


def answers(library: ctypes.CDLL, code: TreeCode, rows: np.ndarray, outputs: int, many: bool = False) -> np.ndarray:
    x = np.ascontiguousarray(rows, np.float32 if code.key == "float" else np.float64)
    out = np.full((len(x), outputs), 77.0, np.float32 if code.out == "float" else np.float64)
    arguments = (x.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p))
    getattr(library, f"run_{code.function}")(*arguments, *map(ctypes.c_size_t, (*x.shape, outputs)), int(many))
    return out.astype(np.float64)


def expected(step: ir.Trees, rows: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return reference._trees(step, rows)


def check(folder: Path, steps: list[ir.Trees], rng: np.random.Generator, *flags: str) -> None:
    """Every layout and kind of leaves of every step, in one compilation."""
    cases = []
    for number, step in enumerate(steps):
        for layout, options in LAYOUTS.items():
            for leaves in LEAVES:
                name = f"t{number}_{layout}_{leaves}"
                cases.append((step, tree_code(step, name, EmitSettings(leaves=leaves, **options)), leaves))
    library = compiled(folder, [code for _, code, _ in cases], *flags)
    rows = [rows_of(step, rng, 61) for step in steps]
    for place, (step, code, leaves) in enumerate(cases):
        x = rows[place // (len(LAYOUTS) * len(LEAVES))]
        want = expected(step, x)
        got = answers(library, code, x, step.width)
        if leaves == "exact":
            assert code.error == 0
            np.testing.assert_array_equal(got.view(np.int64), want.view(np.int64), err_msg=code.function)
        else:
            assert (np.abs(got - want) <= code.error).all(), code.function
        if code.rows_function:
            np.testing.assert_array_equal(answers(library, code, x, step.width, many=True), got)


@given(st.lists(shapes, min_size=3, max_size=4), st.integers(0, 2**32 - 1))
@settings(
    max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would compile for minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_equals_reference(tmp_path: Path, drawn: list[Shape], seed: int) -> None:
    check(tmp_path, [trees_of(s) for s in drawn], np.random.default_rng(seed))


def test_corners(tmp_path: Path) -> None:
    """Shapes that random ones may miss: many features, sets, directions, sums over many trees, one leaf only."""
    plain = Shape(seed=5, trees=9, depth=6, features=4, outputs=1)
    corners = [
        plain,
        replace(plain, trees=1, depth=0),
        replace(plain, trees=8, depth=0, outputs=3, per_tree=True),
        replace(plain, features=700, trees=60, missing=True),
        replace(plain, features=90, trees=60, depth=9, missing=True, single_key=False),
        replace(plain, categories=70, missing=True, trees=20),
        replace(plain, categories=100_000, single_key=False),
        replace(plain, categories=5, features=1, outputs=11),
        replace(plain, odd=True, features=2, trees=40, missing=True),
        replace(plain, odd=True, single_key=False, divisor=3.0, base_last=True, outputs=7),
        replace(plain, single=True, divisor=3.0, base_last=True, outputs=2),
        replace(plain, trees=400, depth=3, outputs=3, per_tree=True, single=True),
        replace(plain, trees=3, depth=14, few_leaves=True, outputs=2),
    ]
    close = trees_of(replace(plain, trees=20, single_key=False, features=2))  # thresholds a few units apart
    nearly = 1.0 + np.random.default_rng(2).integers(0, 40, len(close.threshold)) * 2.0**-52
    steps = [*map(trees_of, corners), replace(close, threshold=nearly), replace(close, threshold=nearly * 2.0**-30)]
    check(tmp_path, steps, np.random.default_rng(1))


def test_no_undefined_behaviour(tmp_path: Path) -> None:
    """A program under the address and undefined-behaviour sanitizers, over rows of odd numbers."""
    shapes_here = [
        Shape(3, 9, 6, 4, 1, missing=True, categories=70, odd=True),
        Shape(4, 9, 6, 4, 3, missing=True, categories=100_000, odd=True, single_key=False),
        Shape(5, 17, 8, 30, 11, single_key=False),
    ]
    calls, parts = [], []
    for number, shape in enumerate(shapes_here):
        step = trees_of(shape)
        rows = rows_of(step, np.random.default_rng(number), 19)
        for layout, options in LAYOUTS.items():
            for leaves in LEAVES:
                code = tree_code(step, f"t{number}_{layout}_{leaves}", EmitSettings(leaves=leaves, **options))
                x = rows.astype(np.float32 if code.key == "float" else np.float64)
                kind = {"float": "uint32_t", "double": "uint64_t"}[code.key]
                bits = x.view(np.uint32 if code.key == "float" else np.uint64).ravel()
                data = ", ".join(f"{b}u" for b in bits)
                parts.append(code.definitions + wrapper(code))
                calls.append(
                    f"    {{ static const {kind} bits[] = {{{data}}}; {code.key} *x = malloc(sizeof bits); "
                    f"{code.out} *out = malloc({len(x) * step.width} * sizeof *out); memcpy(x, bits, sizeof bits); "
                    f"run_{code.function}(x, out, {len(x)}, {x.shape[1]}, {step.width}, 0); "
                    f"run_{code.function}(x, out, {len(x)}, {x.shape[1]}, {step.width}, 1); free(x); free(out); }}\n"
                )
    source, program = tmp_path / "all.c", tmp_path / "all"
    source.write_text(
        "#include <stdlib.h>\n" + _HEAD + "".join(parts) + "int main(void)\n{\n" + "".join(calls) + "    return 0;\n}\n"
    )
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    subprocess.run(["cc", *STRICT, *flags, "-o", program, source], check=True, timeout=300)
    subprocess.run([program], check=True, timeout=60)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_deep_chain(tmp_path: Path, layout: str) -> None:
    """10,000 levels are neither nested in the code nor walked recursively when it is written."""
    step = chain(10_000)
    code = tree_code(step, "deep", EmitSettings(**LAYOUTS[layout]))
    assert max(len(re.match(" *", line)[0]) for line in code.definitions.splitlines()) <= 40
    library = compiled(tmp_path, [code])
    rows = np.array([[-1.0], [0.0], [0.5], [9998.0], [9999.0], [9999.5], [np.inf], [np.nan]])
    np.testing.assert_array_equal(answers(library, code, rows, 1), expected(step, rows))


def test_large_forest_is_written_quickly() -> None:
    """1,000 trees of depth 20 take seconds, not minutes; layouts that gcc would not finish are not chosen."""
    one = trees_of(Shape(seed=1, trees=60, depth=20, features=20, outputs=1))
    times = 1000 // 60 + 1
    nodes, leaves = len(one.feature), len(one.leaves)

    def shifted(child: np.ndarray) -> np.ndarray:
        return np.concatenate([np.where(child >= 0, child + i * nodes, child - i * leaves) for i in range(times)])

    tiled = {
        n: np.tile(getattr(one, n), times) for n in ("feature", "threshold", "missing_left", "category_set", "output")
    }
    step = replace(
        one, roots=shifted(one.roots), left=shifted(one.left), right=shifted(one.right),
        leaves=np.tile(one.leaves, (times, 1)), **tiled,
    )  # fmt: skip
    for layout in ("auto", "size"):
        began = time.process_time()
        code = tree_code(step, "large", EmitSettings(layout=layout))
        assert time.process_time() - began < 30  # far above the goal of 5 s, for slow machines
        assert code.layout != "branches"


@pytest.mark.parametrize("single_key", [True, False])
def test_large_tables_are_literals(tmp_path: Path, single_key: bool) -> None:
    """Tables too long for lists of numbers are strings, each within what C99 asks of compilers."""
    step = trees_of(Shape(seed=3, trees=500, depth=16, features=7, outputs=1, single_key=single_key, missing=True))
    assert len(step.feature) > 30_000
    code = tree_code(step, "large", EmitSettings(layout="size"))
    assert '"\\' in code.definitions
    rows = rows_of(step, np.random.default_rng(0), 200)
    library = compiled(tmp_path, [code])
    np.testing.assert_array_equal(answers(library, code, rows, 1), expected(step, rows))


def test_no_function_is_large() -> None:
    step = trees_of(Shape(seed=2, trees=4, depth=30, features=5, outputs=1))
    code = tree_code(step, "wide", EmitSettings(layout="speed", in_order=True))
    functions = code.definitions.split("\n}\n")
    assert code.layout == "branches"
    assert max(f.count("if (") for f in functions) <= 800


def test_leaves_that_do_not_fit(tmp_path: Path) -> None:
    step = replace(chain(2), leaves=np.array([[1e300], [0.0], [1.0]]))
    with pytest.raises(ConversionError, match="do not fit float32"):
        tree_code(step, "big", EmitSettings(leaves="float"))
    code = tree_code(step, "big", EmitSettings(layout="size"))
    assert answers(compiled(tmp_path, [code]), code, np.array([[-1.0]]), 1)[0, 0] == 1e300


def test_categories_above_32_bits() -> None:
    step = replace(chain(1), category_set=np.array([0]), sets=((2**40,),))
    with pytest.raises(ConversionError, match="4294967295"):
        tree_code(step, "codes", EmitSettings())


def test_keys_keep_the_order_of_numbers() -> None:
    from edgekit_converters.plaincode.emitters.c.trees_plan import ordered_keys

    values = np.sort(np.array([*ODD, *np.random.default_rng(0).normal(size=50), 1e-300, -1e-300, 1e300]))
    for single in (True, False):
        typed = values.astype(np.float32).astype(np.float64) if single else values
        with np.errstate(all="ignore"):
            keys = ordered_keys(typed, single)
        np.testing.assert_array_equal(typed[:-1] < typed[1:], keys[:-1] < keys[1:])
