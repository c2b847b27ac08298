"""The plain-Python modules that programs are written as answer as the programs do."""

from __future__ import annotations

import ast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir, reference
from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.python import EMITTER
from tests.converters.plaincode.random_programs import ANY_KINDS, EXACT_KINDS, differs, program_of, programs, rows_for


def loaded(program: ir.Program, **options: object) -> dict[str, object]:
    """The module's names."""
    (text,) = EMITTER.emit(program, EmitSettings(**options)).values()
    imported = {
        a.name for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names
    }
    assert imported <= {"math"}
    names: dict[str, object] = {}
    exec(text, names)  # noqa: S102
    return names


def _flat(answer: object) -> list[object]:
    return answer if isinstance(answer, list) else [answer]


def check(program: ir.Program, bounds: dict[str, float], seed: int) -> None:
    module = loaded(program)
    rows = rows_for(np.random.default_rng(seed), 12, len(program.features))
    answers = reference.run(program, rows)
    with np.errstate(over="ignore"):
        scale = max(
            (np.abs(v[np.isfinite(v)]).max(initial=0.0) for found in answers.values() for v in found), default=0.0
        )
    for method, wanted in answers.items():
        found = np.array([np.hstack([0.0, *_flat(module[method](r.tolist()))])[1:] for r in rows]).reshape(
            len(rows), -1
        )
        whole = np.concatenate(wanted, axis=1)
        assert not differs(found, whole, bounds[method], scale), f"{program.title} {method} {found} {whole}"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), st.integers(0, 1 << 20))
def test_random_programs_answer_as_the_reference_does(made: tuple[ir.Program, dict[str, float]], seed: int) -> None:
    check(*made, seed)


@pytest.mark.parametrize("kind", [*EXACT_KINDS, *ANY_KINDS])
def test_every_kind_of_step(kind: str) -> None:
    for seed in range(6):
        check(*program_of(4, [kind, "affine", kind], seed), seed)


@given(st.floats(allow_nan=False))
@settings(max_examples=300)
def test_rounding_to_float32_without_a_library_is_right(value: float) -> None:
    builder = ir.Builder([ir.Feature("x")])
    module = loaded(builder.program({"transform": ir.Answer(builder.add(ir.Round32(builder.row)))}, "t"))
    with np.errstate(all="ignore"):
        for each in (value, np.nextafter(value, 0), np.ldexp(value, -900), float(np.float32(value)) * (1 + 2.0**-24)):
            found, wanted = module["transform"]([float(each)]), float(np.float32(each))
            assert (found, np.signbit(found)) == (wanted, np.signbit(wanted))


@given(st.lists(st.text(max_size=6), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_names_and_classes_cannot_break_the_module(names: list[str]) -> None:
    feature, *labels = names
    builder = ir.Builder([ir.Feature(feature, ir.CATEGORY, (feature, "b"))])
    program = builder.program({"predict": ir.Answer(builder.add(ir.Above(builder.row, 0.0)), tuple(labels))}, feature)
    module = loaded(program)
    assert [module["predict"]([v]) for v in (0, 1)] == labels
    assert module["FEATURES"] == (feature,)
    with pytest.raises(ValueError, match="1 values"):
        module["predict"]([1, 2])


def test_what_python_cannot_say_is_refused_in_a_sentence() -> None:
    builder = ir.Builder([ir.Feature("a")])
    for name in ("class", "_s1", "a-b", "math"):
        with pytest.raises(ConversionError, match="cannot be a function"):
            EMITTER.emit(builder.program({name: ir.Answer(builder.row)}, "t"), EmitSettings())
    with pytest.raises(ConversionError, match="no method"):
        EMITTER.emit(builder.program({"predict": ir.Answer(builder.row)}, "t"), EmitSettings(methods=("guess",)))
