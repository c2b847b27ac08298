"""C that programs are written as does what the programs do: compiled with warnings as errors, loaded, compared."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgekit_converters.errors import ConversionError, MissingRequirement, UsageError
from edgekit_converters.plaincode import compiler, ir, reference
from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.c import EMITTER, arduino_library
from edgekit_runtime.errors import EdgekitError
from tests.converters.plaincode.random_programs import (
    ANY_KINDS,
    EXACT_KINDS,
    differs,
    program_of,
    programs,
    random_trees,
    rows_for,
)

pytestmark = pytest.mark.tool("cc")
_COUNT = itertools.count()
_NO_STEPS = {ir.Feature, ir.Register, ir.Step, ir.Answer, ir.Builder, ir.Program, ir.Words}
_NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # each try compiles
_SLOW = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)


def written(folder: Path, program: ir.Program, prefix: str, **options: object) -> Path:
    for name, text in EMITTER.emit(program, EmitSettings(prefix=prefix, **options)).items():
        (folder / name).write_text(text)
    return folder / f"{prefix}.c"


def called(
    library: ctypes.CDLL, program: ir.Program, prefix: str, method: str, rows: np.ndarray, kind: str
) -> np.ndarray:
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


@settings(max_examples=4, deadline=None, suppress_health_check=_SLOW, phases=_NO_SHRINKING)
@given(made=st.lists(programs(), min_size=12, max_size=20), seed=st.integers(0, 1 << 20))
def test_random_programs_answer_as_the_reference_does(tmp_path: Path, made, seed) -> None:
    check(tmp_path, made, seed)


@pytest.mark.parametrize(("kind", "layout"), [("float", "size"), ("double", "speed")])
def test_every_kind_of_step_and_both_kinds_of_rows(tmp_path: Path, kind: str, layout: str) -> None:
    made = [program_of(4, [step, "affine", step], 7 * n) for n, step in enumerate((*EXACT_KINDS, *ANY_KINDS))]
    tried = {type(s) for p, _ in made for s in p.steps}
    assert {getattr(ir, n) for n in ir.__all__ if isinstance(getattr(ir, n), type)} - tried <= _NO_STEPS
    check(tmp_path, made, 5, input=kind, layout=layout)


def test_many_rows_at_once_answer_as_one_row_does(tmp_path: Path) -> None:
    """Trees take rows in blocks and the other steps follow row by row: also at the ends of blocks."""
    builder = ir.Builder([ir.Feature(f"x{i}") for i in range(3)])
    seeds = (random_trees(np.random.default_rng(seed), builder.row, 3) for seed in range(100))
    trees = next(t for t in seeds if t.single_key and len(t.feature) > 3)
    answers = {"m": ir.Answer(builder.add(ir.Affine(builder.add(trees), add=np.array([0.5]))))}
    program = builder.program(answers, "blocks")
    source = written(tmp_path, program, "m", layout="speed")
    assert "m_m_rest(" in source.read_text(), "trees are not taken in blocks here: choose another program"
    library = ctypes.CDLL(str(compiler.compile_library([source], tmp_path)))
    rows = rows_for(np.random.default_rng(0), 200, 3).astype(np.float32).astype(float)
    for count in (0, 1, 63, 64, 65, 200):
        found = called(library, program, "m", "m", rows[:count], "float") if count else np.zeros((0, 3))
        np.testing.assert_array_equal(found, reference.run(program, rows[:count])["m"][0] if count else found)


def _with_tools(names: list[str], *, run: bool) -> list[object]:
    """Architectures, each with the tools that a test of it needs."""
    found = []
    for name in names:
        machine = compiler.ARCHITECTURES[name]
        tools = (machine.compilers[0], *(machine.emulator[:1] if run else (f"{machine.tools}size",)))
        found.append(pytest.param(name, marks=pytest.mark.tool(*tools)))
    return found


@pytest.mark.parametrize("name", _with_tools(["aarch64", "armhf"], run=True))
def test_other_processors_give_the_same_bits(tmp_path: Path, name: str) -> None:
    """GCC fuses products and sums on these two unless it is told not to; the sources tell it, whatever the flags."""
    program = fusible()
    source = written(tmp_path, program, "m")
    rows = np.random.default_rng(3).normal(0, 3, (40, 6))
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "m.h"\nint main(void)\n{\n    double x[6];\n    while (scanf("%lf %lf %lf %lf %lf %lf", '
        "x, x + 1, x + 2, x + 3, x + 4, x + 5) == 6) {\n        double out[M_ANSWER_SIZE];\n        int i;\n"
        '        m_answer(x, out);\n        for (i = 0; i < M_ANSWER_SIZE; i++) printf("%.17g ", out[i]);\n    }\n'
        "    return 0;\n}\n"
    )
    fused = ("-std=gnu99", "-O3", *({"aarch64": (), "armhf": ("-mfpu=neon-vfpv4",)}[name]))
    built = compiler.compile_program([source, tmp_path / "main.c"], tmp_path, name, options=fused)
    printed = compiler.run_program(built, name, stdin=" ".join(repr(float(v)) for v in rows.ravel()))
    found = np.array([float(v) for v in printed.split()]).reshape(len(rows), -1)
    host = ctypes.CDLL(str(compiler.compile_library([source], tmp_path)))
    wanted = called(host, program, "m", "answer", rows, "double")
    np.testing.assert_array_equal(found, wanted)


def fusible() -> ir.Program:
    """Products and sums in every form that a compiler could fuse."""
    rng = np.random.default_rng(0)
    builder = ir.Builder([ir.Feature(f"x{i}") for i in range(6)])
    wide = builder.add(ir.Affine(builder.row, rng.normal(0, 1, 6), None, rng.normal(0, 1, 6), rng.normal(0, 1, 6)))
    dense = builder.add(ir.Dense(wide, rng.normal(0, 1, (6, 3)), rng.normal(0, 1, 3)))
    one = builder.add(ir.Dense(wide, rng.normal(0, 1, (6, 1)), rng.normal(0, 1, 1)))
    gaps = builder.add(ir.Distances(builder.row, rng.normal(0, 1, (4, 6))))
    parts = (dense, one, gaps, builder.add(ir.Normalize(wide, "l2")))
    return builder.program({"answer": ir.Answer(builder.add(ir.Concat(parts)))}, "fusible")


@pytest.mark.parametrize("name", _with_tools([n for n in compiler.ARCHITECTURES if n != "host"], run=False))
def test_every_processor_compiles_it_without_a_warning(tmp_path: Path, name: str) -> None:
    source = written(tmp_path, program_of(4, [*EXACT_KINDS, *ANY_KINDS], 3)[0], "m")
    size = compiler.object_size(compiler.compile_object(source, tmp_path, name), name)
    assert size.text > 0
    assert size.memory == 0, "it keeps something between calls"
    assert size.flash < 1 << 16


@pytest.mark.tool("g++")
def test_the_header_serves_cpp_and_two_models_link_together(tmp_path: Path) -> None:
    first, second = small_model(), program_of(4, ["trees", "softmax"], 11)[0]
    sources = [written(tmp_path, first, "one"), written(tmp_path, second, "two")]
    (tmp_path / "both.cpp").write_text(
        '#include <cstdio>\n#include "one.h"\n#include "two.h"\nint main() {\n    const one_input a[ONE_FEATURES] = {};\n'
        '    std::printf("%s %d\\n", one_label(one_predict(a)), TWO_FEATURES);\n}\n'
    )
    objects = [str(compiler.compile_object(s, tmp_path)) for s in sources]
    command = [
        "g++",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-o",
        str(tmp_path / "both"),
        str(tmp_path / "both.cpp"),
    ]
    subprocess.run([*command, *objects, "-lm"], check=True)
    assert subprocess.run([tmp_path / "both"], check=True, capture_output=True, text=True).stdout == "ja/nein 4\n"


@pytest.mark.tool("clang")
def test_clang_takes_it_too(tmp_path: Path) -> None:
    source = written(tmp_path, program_of(4, [*EXACT_KINDS, *ANY_KINDS], 3)[0], "m")
    subprocess.run(["clang", *compiler.STRICT, "-O2", "-c", "-o", str(tmp_path / "m.o"), str(source)], check=True)


def small_model() -> ir.Program:
    """Two trees over a number and a category, averaged to probabilities."""
    builder = ir.Builder([ir.Feature("length"), ir.Feature("colour", ir.CATEGORY, ("red", "light blue"), missing=True)])
    row = builder.add(ir.Round32(builder.row))
    trees = builder.add(ir.Trees(
        row, np.array([0, 1]), np.array([0, 1]), np.array([0.5, 0.0]), np.array([-1, -1]), np.array([-2, -2]),
        np.array([False, True]), np.array([[0.25, 0.75], [1.0, 0.0]]), np.zeros(2), np.array([-1, -1]),
        np.array([-1, 0]), ((1,),), divisor=2.0,
    ))  # fmt: skip
    best = builder.add(ir.Argmax(trees))
    return builder.program(
        {"predict": ir.Answer(best, ("ja/nein", "vielleicht")), "predict_proba": ir.Answer(trees)},
        "A small forest", ["predict", "predict_proba"],
    )  # fmt: skip


def linear_model() -> ir.Program:
    """A scaler and a logistic regression of three classes."""
    features = [ir.Feature("length"), ir.Feature("colour", ir.CATEGORY, ("red", "light blue"), missing=True)]
    builder = ir.Builder(features)
    scaled = builder.add(ir.Affine(builder.add(ir.Select(builder.row, (0,))), np.array([0.1]), np.array([2.0])))
    codes = builder.add(ir.Encode(builder.row, 1, np.arange(2.0)))
    weights = np.array([[0.5, -1.0, 0.1], [1.0, 0.25, 0.0], [0.0, 2.0, -0.5]])
    scores = builder.add(ir.Dense(builder.add(ir.Concat((scaled, codes))), weights, np.array([0.125, 0.0, -0.5])))
    answers = {
        "predict": ir.Answer(builder.add(ir.Argmax(scores)), ("low", "high", "n/a")),
        "predict_proba": ir.Answer(builder.add(ir.Softmax(scores))),
    }
    return builder.program(answers, "A small linear model")


@pytest.mark.parametrize("name", ["small.h", "small.c", "example_main.c", "CMakeLists.txt"])
def test_what_a_small_model_is_written_as(name: str) -> None:
    """The golden files are read by people: look at the difference, then write them anew with EDGEKIT_GOLDEN=write."""
    text = EMITTER.emit(linear_model(), EmitSettings(prefix="small", example=(0.5, 1.0)))[name]
    path = Path(__file__).parents[2] / "golden" / "plaincode" / name
    if os.environ.get("EDGEKIT_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_the_example_prints_the_answers_of_its_row(tmp_path: Path) -> None:
    source = written(tmp_path, small_model(), "small", example=(0.5, 1.0))
    built = compiler.compile_program([source, tmp_path / "example_main.c"], tmp_path)
    assert compiler.run_program(built) == "predict: vielleicht\npredict_proba: 0.25 0.75\n"


@pytest.mark.tool("cmake")
def test_the_cmake_project_builds(tmp_path: Path) -> None:
    written(tmp_path, small_model(), "small", example=(0.75, 0.0))
    for command in (
        ["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "b")],
        ["cmake", "--build", str(tmp_path / "b")],
    ):
        subprocess.run(command, check=True, capture_output=True)
    assert "predict: ja/nein" in compiler.run_program(tmp_path / "b" / "small_example")


def test_the_arduino_library_has_what_the_ide_looks_for() -> None:
    files = arduino_library(EMITTER.emit(small_model(), EmitSettings(prefix="small")), "small")
    assert set(files) == {
        "library.properties", "src/small.h", "src/small.c", "examples/small_example/small_example.ino",
    }  # fmt: skip
    lines = dict(line.split("=", 1) for line in files["library.properties"].splitlines())
    assert lines["name"] == "small"
    assert lines["sentence"].startswith("A small forest")


@pytest.mark.tool("g++")
def test_the_arduino_sketch_prints_the_answers(tmp_path: Path) -> None:
    emitted = EMITTER.emit(small_model(), EmitSettings(prefix="small", example=(0.5, 1.0)))
    for name, text in arduino_library(emitted, "small").items():
        (tmp_path / Path(name).name).write_text(text)
    (tmp_path / "board.h").write_text(
        "#include <stdio.h>\n#include <stdlib.h>\nstruct Port {\n    void begin(long) {}\n"
        "    void print(const char *text) { fputs(text, stdout); }\n};\nstatic Port Serial;\n"
        "inline void delay(int) { exit(0); }\nvoid setup();\nvoid loop();\nint main() { setup(); for (;;) loop(); }\n"
    )
    made = compiler.compile_object(tmp_path / "small.c", tmp_path)
    sketch, board, program = (tmp_path / n for n in ("small_example.ino", "board.h", "sketch"))
    command = [
        "g++",
        "-Wall",
        "-include",
        board,
        "-I",
        tmp_path,
        "-x",
        "c++",
        sketch,
        "-x",
        "none",
        made,
        "-o",
        program,
    ]
    subprocess.run(command, check=True)
    assert compiler.run_program(program) == "predict: vielleicht\npredict_proba: 0.25 0.75\n"


def test_a_row_that_is_narrower_than_the_sources_is_said_in_the_header() -> None:
    builder = ir.Builder([ir.Feature("a")])
    program = builder.program({"predict": ir.Answer(builder.add(ir.Above(builder.row, 0.1)))}, "t", ["predict"])
    about = {kind: EMITTER.emit(program, EmitSettings(input=kind))["model.h"] for kind in ("auto", "float", "double")}
    assert "Equal to the source to the last bit" in about["auto"]
    assert about["auto"] == about["double"]
    assert "may cross a threshold" in about["float"]
    assert "last bit" not in about["float"]


_PIECES = [*"ab?/*\\\"'%<:\n\r\t", "??/", "*/", "/*", "\u00e9", "\u6c49", "\u202e", "int", "\u2028"]
HOSTILE = st.lists(st.sampled_from(_PIECES), max_size=6).map("".join)


@settings(max_examples=4, deadline=None, suppress_health_check=_SLOW, phases=_NO_SHRINKING)
@given(names=st.lists(st.lists(HOSTILE, min_size=4, max_size=4), min_size=10, max_size=20))
def test_names_and_classes_cannot_break_the_code(tmp_path: Path, names: list[list[str]]) -> None:
    folder = tmp_path / f"names{next(_COUNT)}"
    folder.mkdir()
    sources = []
    for place, (feature, category, *labels) in enumerate(names):
        builder = ir.Builder([ir.Feature(feature, ir.CATEGORY, (category, "other"))])
        answer = ir.Answer(builder.add(ir.Argmax(builder.add(ir.Concat((builder.row, builder.row))))), tuple(labels))
        program = builder.program({"predict": answer}, feature + category)
        sources.append(written(folder, program, f"n{place}"))
        compiler.compile_object(folder / "example_main.c", folder)
    library = ctypes.CDLL(str(compiler.compile_library(sources, folder, optimize="-O0")))
    for place, (_, _, *labels) in enumerate(names):
        label = library[f"n{place}_label"]
        label.restype = ctypes.c_char_p
        assert [label(i) for i in (-1, 0, 1, 2)] == [None, *(name.encode() for name in labels), None]


def test_labels_that_are_numbers_and_outputs_with_labels_of_their_own(tmp_path: Path) -> None:
    builder = ir.Builder([ir.Feature("a"), ir.Feature("b")])
    first, second = (builder.add(ir.Above(builder.add(ir.Select(builder.row, (i,))), 0.0)) for i in (0, 1))
    many = builder.program({"predict": (ir.Answer(first, (7, -3)), ir.Answer(second, (1, 2)))}, "many")
    halves = builder.program({"predict": ir.Answer(first, (0.5, 2))}, "halves")
    library = ctypes.CDLL(
        str(compiler.compile_library([written(tmp_path, many, "many"), written(tmp_path, halves, "half")], tmp_path))
    )
    row, out = (ctypes.c_double * 2)(1.0, -1.0), (ctypes.c_int * 2)()
    library.many_predict(row, out)
    library.many_label.restype = ctypes.c_long
    assert [library.many_label(i, out[i]) for i in (0, 1)] == [-3, 1]
    assert [library.many_label(i, j) for i, j in ((0, 2), (2, 0), (-1, 0), (1, -1))] == [0, 0, 0, 0]
    library.half_label.restype = ctypes.c_double
    assert library.half_label(library.half_predict(row)) == 2.0


def test_the_row_is_float_only_where_the_source_rounds_all_of_it(tmp_path: Path) -> None:
    def kind(*, rounded: bool, category: bool = False) -> str:
        feature = ir.Feature("a", ir.CATEGORY, ("u", "v")) if category else ir.Feature("a")
        builder = ir.Builder([feature, ir.Feature("b")])
        numbers = builder.add(ir.Impute(builder.row, np.zeros(2)))
        numbers = builder.add(ir.Round32(numbers)) if rounded else numbers
        codes = builder.add(ir.Encode(builder.row, 0, np.arange(2.0)))
        total = builder.add(ir.Concat((numbers, codes) if category or not rounded else (numbers,)))
        program = builder.program({"transform": ir.Answer(total)}, "t")
        return input_type(written(tmp_path, program, "m"))

    assert kind(rounded=True) == "float"
    assert kind(rounded=True, category=True) == "float"
    assert kind(rounded=False) == "double"


@pytest.mark.parametrize(("change", "words"), [
    ({"prefix": "1x"}, "cannot begin a name"), ({"prefix": "a b"}, "cannot begin a name"),
    ({"prefix": "example_main"}, "name of the example"), ({"methods": ("guess",)}, "no method 'guess'"),
    ({"example": (1.0,)}, "1 values, but the model takes 2"), ({"input": "half"}, "no input 'half'"),
])  # fmt: skip
def test_wrong_settings_are_refused_in_a_sentence(change: dict[str, object], words: str) -> None:
    with pytest.raises(EdgekitError, match=words):
        EMITTER.emit(small_model(), EmitSettings(**change))


def test_models_that_c_cannot_say_are_refused_in_a_sentence() -> None:
    builder = ir.Builder([ir.Feature("a")])
    answer = ir.Answer(builder.add(ir.Above(builder.row, 0.0)), ("no", "y\0es"))
    with pytest.raises(ConversionError, match="zero byte"):
        EMITTER.emit(builder.program({"predict": answer}, "t"), EmitSettings())
    wide = builder.add(ir.Select(builder.row, (0,) * 50000))
    with pytest.raises(ConversionError, match="bytes of memory for one row"):
        EMITTER.emit(builder.program({"transform": ir.Answer(builder.add(ir.Power(wide, 2)))}, "t"), EmitSettings())
    for name in ("a-b", "input", "s1", "label", "predict_rows", "decode"):
        with pytest.raises(ConversionError, match="cannot be a function in C"):
            EMITTER.emit(builder.program({name: ir.Answer(wide)}, "t"), EmitSettings())

    class Unknown(ir.Round32):
        name = "unknown"

    odd = builder.add(Unknown(builder.row))
    assert "unknown" in EMITTER.refuses(builder.program({"predict": ir.Answer(odd)}, "t"))


def test_a_compilers_refusal_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("int f(void) { return x; }\n")
    with pytest.raises(ConversionError, match="cc refused the code for host: .*undeclared"):
        compiler.compile_library([tmp_path / "bad.c"], tmp_path)
    with pytest.raises(UsageError, match="no architecture 'vax'"):
        compiler.compile_library([tmp_path / "bad.c"], tmp_path, "vax")
    with pytest.raises(UsageError, match="no shared libraries"):
        compiler.compile_library([tmp_path / "bad.c"], tmp_path, "cortex-m4")


def test_a_missing_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRequirement, match="gcc-aarch64-linux-gnu"):
        compiler.architecture("aarch64").compiler()
    assert compiler.available() == ()
