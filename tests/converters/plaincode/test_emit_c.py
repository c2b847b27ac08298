"""C that programs are written as does what the programs do: compiled with warnings as errors, loaded, compared."""

from __future__ import annotations

import ctypes
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit_converters.plaincode import compiler, ir, reference
from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.c import EMITTER
from tests.converters.plaincode.random_programs import ANY_KINDS, EXACT_KINDS, differs, program_of, programs, rows_for

pytestmark = pytest.mark.tool("cc")
_COUNT = itertools.count()
_SLOW = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)


def written(folder: Path, program: ir.Program, prefix: str, **options: object) -> Path:
    for name, text in EMITTER.emit(program, EmitSettings(prefix=prefix, **options)).items():
        (folder / name).write_text(text)
    return folder / f"{prefix}.c"


def called(library: ctypes.CDLL, program: ir.Program, prefix: str, method: str, rows: np.ndarray, kind: str) -> np.ndarray:
    """Answers of the many-rows function, which must be those of the single-row one."""
    width = sum(a.register.width for a in program.methods[method])
    x = np.ascontiguousarray(rows, np.float32 if kind == "float" else np.float64)
    out = np.full((len(rows), width), 77.0)
    function = library[f"{prefix}_{method}_rows"]
    function(ctypes.c_void_p(x.ctypes.data), ctypes.c_size_t(len(rows)), ctypes.c_void_p(out.ctypes.data))
    one = np.full(width, 77.0)
    single = library[f"{prefix}_{method}"]
    if width == 1:
        single.restype = ctypes.c_double
        one[0] = single(ctypes.c_void_p(x[-1].ctypes.data))
    else:
        single(ctypes.c_void_p(x[-1].ctypes.data), ctypes.c_void_p(one.ctypes.data))
    np.testing.assert_array_equal(one, out[-1])
    return out


def input_type(source: Path) -> str:
    return "float" if "typedef float" in source.with_suffix(".h").read_text() else "double"


def check(folder: Path, made: list[tuple[ir.Program, dict[str, float]]], seed: int, **options: object) -> None:
    """Compile all programs into one library, under prefixes of their own, and compare them with the reference."""
    folder = folder / f"batch{next(_COUNT)}"
    folder.mkdir()
    sources = [written(folder, program, f"p{i}", **options) for i, (program, _) in enumerate(made)]
    library = ctypes.CDLL(str(compiler.compile_library(sources, folder, optimize="-O1")))
    rng = np.random.default_rng(seed)
    for place, (program, bounds) in enumerate(made):
        rows = rows_for(rng, 30, len(program.features))
        kind = input_type(sources[place])
        if kind == "float" and options.get("input") == "float":
            with np.errstate(over="ignore"):
                rows = rows.astype(np.float32).astype(np.float64)
        answers = reference.run(program, rows)
        with np.errstate(over="ignore"):
            scale = max(
                (np.abs(v[np.isfinite(v)]).max(initial=0.0) for found in answers.values() for v in found), default=0.0
            )
        for method, wanted in answers.items():
            found = called(library, program, f"p{place}", method, rows, kind)
            whole = np.concatenate(wanted, axis=1)
            whole = np.broadcast_to(whole, found.shape)
            assert not differs(found, whole, bounds[method], scale), (
                f"{program.title} {method} {program.steps} found {found} wanted {whole}"
            )


@settings(max_examples=8, deadline=None, suppress_health_check=_SLOW)
@given(made=st.lists(programs(), min_size=12, max_size=20), seed=st.integers(0, 1 << 20))
def test_random_programs_answer_as_the_reference_does(tmp_path: Path, made, seed) -> None:
    check(tmp_path, made, seed)


@pytest.mark.parametrize("kind", ["float", "double"])
def test_every_kind_of_step_and_both_kinds_of_rows(tmp_path: Path, kind: str) -> None:
    made = [program_of(4, [first, second], 7 * n) for n, first in enumerate((*EXACT_KINDS, *ANY_KINDS))
            for second in ("affine", "trees")]  # fmt: skip
    names = {s.name for p, _ in made for s in p.steps}
    assert names >= {s.name for s in ir.Step.__subclasses__()} - {"words"} - {None}
    check(tmp_path, made, 5, input=kind)
