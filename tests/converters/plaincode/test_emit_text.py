"""Texts are read in C and in plain Python as scikit-learn's vectorizers read them, to the last letter of Unicode."""

from __future__ import annotations

import ctypes
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import compiler, ir, reference
from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.c import EMITTER
from edgekit_converters.plaincode.emitters.c.text import TERMS
from edgekit_converters.plaincode.emitters.python import EMITTER as PYTHON
from edgekit_converters.plaincode.words import ngrams

pytestmark = pytest.mark.tool("cc")
_COUNT = itertools.count()
# Letters whose small form is odd, letters that are no letters, all kinds of white space, all lengths of UTF-8.
LETTERS = (
    "aabbcdeABZ019__ \t\n\r\x0b\x1c\x85-.,'!"
    "\u00df\u00e9\u00c9\u0130\u0131\u01c5\u03a3\u03a3\u03c3\u03c2\u0391\u0345\u0307\u00ad\u2019\u212a\u1e9e\u2126"
    "\u00a0\u2003\u3000\u00b2\u0661\u216b\u24b6\u6c49\uff21\ufffd\U00010400\U0001d7d8\U0001f600\U000e0001"
)
TEXTS = st.text(st.sampled_from(LETTERS), max_size=30)


@st.composite
def words(draw: st.DrawFn) -> tuple[ir.Words, list[str]]:
    """A step with every option on or off, and texts that share n-grams with its vocabulary."""
    texts = [*draw(st.lists(TEXTS, min_size=4, max_size=10)), "", " ", "a", "\u03a3", "a\u03a3 b\u03a3b \u03a3"]
    low = draw(st.integers(1, 3))
    options = {
        "analyzer": draw(st.sampled_from(["word", "char", "char_wb"])), "ngrams": (low, low + draw(st.integers(0, 2))),
        "lowercase": draw(st.booleans()), "binary": draw(st.booleans()), "norm": draw(st.sampled_from(["", "l1", "l2"])),
        "single_letters": draw(st.booleans()), "alternate_sign": draw(st.booleans()),
    }  # fmt: skip
    options["sublinear"] = draw(st.booleans()) and not options["alternate_sign"]
    row = ir.Register(0, 1)
    if options["analyzer"] == "word" and draw(st.booleans()):
        found = sorted({g for t in texts for g in ngrams(ir.Words(row, 1, single_letters=True), t)})
        options["stop_words"] = frozenset(found[:3])
    size, vocabulary = draw(st.sampled_from([1, 7, 64])), None
    if draw(st.booleans()):
        grams = sorted({g for t in texts for g in ngrams(ir.Words(row, 1, **options), t)} | {"not there", "\U0001f600"})
        grams = draw(st.lists(st.sampled_from(grams), min_size=1, unique=True))
        vocabulary, size = {g: c for c, g in enumerate(grams)}, len(grams)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    weights = rng.random(size) + 0.1 if draw(st.booleans()) else None
    return ir.Words(row, size, vocabulary=vocabulary, weights=weights, **options), texts


def program_of(step: ir.Words, seed: int) -> ir.Program:
    """The columns themselves, and products that are summed as the text is read."""
    rng = np.random.default_rng(seed)
    builder = ir.Builder([ir.Feature("text", ir.TEXT)])
    columns = builder.add(step)
    again = builder.add(step)
    weights = rng.normal(0, 1, (step.size, 2)) * (rng.random((step.size, 1)) < 0.4)
    summed = builder.add(ir.Dense(again, weights, rng.normal(0, 1, 2)))
    return builder.program({"transform": ir.Answer(columns), "decision": ir.Answer(summed)}, "text")


def library_of(folder: Path, made: list[ir.Program]) -> ctypes.CDLL:
    folder = folder / f"batch{next(_COUNT)}"
    folder.mkdir()
    sources = []
    for place, program in enumerate(made):
        for name, text in EMITTER.emit(program, EmitSettings(prefix=f"t{place}")).items():
            (folder / name).write_text(text)
        sources.append(folder / f"t{place}.c")
    return ctypes.CDLL(str(compiler.compile_library(sources, folder, optimize="-O0")))


def asked(library: ctypes.CDLL, name: str, texts: list[bytes], width: int) -> np.ndarray:
    out = np.full((len(texts), width), 77.0)
    pointers = (ctypes.c_char_p * len(texts))(*texts)
    library[f"{name}_rows"](pointers, ctypes.c_size_t(len(texts)), ctypes.c_void_p(out.ctypes.data))
    return out


@settings(
    max_examples=3, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(made=st.lists(words(), min_size=8, max_size=12), seed=st.integers(0, 1 << 20))
def test_random_texts_in_c_and_in_python(tmp_path: Path, made: list[tuple[ir.Words, list[str]]], seed: int) -> None:
    programs = [program_of(step, seed) for step, _ in made]
    library = library_of(tmp_path, programs)
    for place, ((step, texts), program) in enumerate(zip(made, programs)):
        wanted = reference.run(program, texts)
        module: dict[str, object] = {}
        exec(PYTHON.emit(program, EmitSettings())["model.py"], module)  # noqa: S102
        for method, width in (("transform", step.size), ("decision", 2)):
            found = asked(library, f"t{place}_{method}", [t.encode() for t in texts], width)
            np.testing.assert_allclose(found, wanted[method][0], rtol=1e-12, atol=1e-12, err_msg=f"{step} {texts}")
            plain = np.array([np.atleast_1d(module[method](t)) for t in texts]).reshape(found.shape)
            np.testing.assert_allclose(plain, wanted[method][0], rtol=1e-12, atol=1e-12, err_msg=f"{step} {texts}")


@pytest.mark.parametrize("norm", ["", "l2"])
def test_a_quarter_million_columns_take_a_few_kilobytes_of_stack(tmp_path: Path, norm: str) -> None:
    """More n-grams than one pass counts, numbers beside the text, and columns chosen from it."""
    rng = np.random.default_rng(2)
    builder = ir.Builder([ir.Feature("price"), ir.Feature("text", ir.TEXT), ir.Feature("size")])
    text = builder.add(ir.Select(builder.row, (1,)))
    hashed = builder.add(ir.Words(text, 1 << 18, ngrams=(1, 2), norm=norm))
    numbers = builder.add(ir.Select(builder.row, (0, 2)))
    some = builder.add(ir.Select(hashed, tuple(range(0, 1 << 18, 2))))
    together = builder.add(ir.Concat((numbers, hashed, some)))
    weights = rng.normal(0, 1, (together.width, 3)) * (rng.random((together.width, 1)) < 0.05)
    scores = builder.add(ir.Dense(together, weights, np.array([0.5, 0.0, 1.0])))
    program = builder.program({"decision": ir.Answer(scores)}, "text and numbers")
    files = EMITTER.emit(program, EmitSettings(prefix="t0", input="double"))
    stack = int(re.search(r"numbers take (\d+) bytes of stack", files["t0.h"])[1])
    assert stack < 4096
    library = library_of(tmp_path, [program])
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 400, count)) for count in (0, 1, 50, 4 * TERMS)]
    rows = np.array([[1.5, 0.0, -2.0]] * len(texts))
    out = np.zeros((len(texts), 3))
    library.t0_decision_rows(
        ctypes.c_void_p(rows.ctypes.data), (ctypes.c_char_p * len(texts))(*(t.encode() for t in texts)),
        ctypes.c_size_t(len(texts)), ctypes.c_void_p(out.ctypes.data),
    )  # fmt: skip
    mixed = np.array([[1.5, t, -2.0] for t in texts], object)
    words_of = {t: reference.run(ir.Program(program.features[1:2], (
        ir.Words(ir.Register(0, 1), 1 << 18, ngrams=(1, 2), norm=norm),
    ), {"m": (ir.Answer(ir.Register(1, 1 << 18)),)}), [t])["m"][0][0] for t in texts}  # fmt: skip
    wanted = [
        np.concatenate([[1.5, -2.0], words_of[t], words_of[t][::2]]) @ weights + [0.5, 0.0, 1.0] for t in mixed[:, 1]
    ]
    np.testing.assert_allclose(out, wanted, rtol=1e-9, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([
    b"a", b" ", b"\xc3", b"\xa9", b"\xe6", b"\xb1", b"\x89", b"\xf0", b"\x9f", b"\x98", b"\x80", b"\xed\xa0\x80",
    b"\xc0\x80", b"\xe0\x80\x80", b"\xf4\x90\x80\x80", b"\xf8", b"\xff", b"\xc3\xa9", "\u6c49".encode(),
]), max_size=8).map(b"".join))  # fmt: skip
def test_bytes_that_are_no_utf8_are_read_as_pythons_replace_reads_them(broken_library: ctypes.CDLL, raw: bytes) -> None:
    step = ir.Words(ir.Register(0, 1), 64, analyzer="char", ngrams=(1, 2))
    wanted = reference.run(program_of(step, 0), [raw.decode("utf-8", "replace")])["transform"][0]
    np.testing.assert_array_equal(asked(broken_library, "t0_transform", [raw], 64), wanted)


@pytest.fixture(scope="module")
def broken_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    step = ir.Words(ir.Register(0, 1), 64, analyzer="char", ngrams=(1, 2))
    return library_of(tmp_path_factory.mktemp("broken"), [program_of(step, 0)])


def test_all_of_unicode_is_what_python_takes_it_for(tmp_path: Path) -> None:
    """Each code point's small form, and whether it belongs to words or separates them."""
    builder = ir.Builder([ir.Feature("text", ir.TEXT)])
    parts = [builder.add(ir.Words(builder.row, 8, analyzer=a)) for a in ("word", "char")]
    program = builder.program({"transform": ir.Answer(builder.add(ir.Concat(tuple(parts))))}, "t")
    (tmp_path / "m.h").write_text(EMITTER.emit(program, EmitSettings(prefix="m"))["m.h"])
    (tmp_path / "m.c").write_text(EMITTER.emit(program, EmitSettings(prefix="m"))["m.c"])
    (tmp_path / "all.c").write_text(
        '#include <stdio.h>\n#include "m.c"\nint main(void)\n{\n    uint32_t c, v;\n    unsigned char bytes[8];\n'
        "    for (c = 1; c < 0x110000; c++) {\n        m_cursor at = {0, 0, 0};\n        if (c >= 0xD800 && c < 0xE000) "
        "continue;\n        bytes[m_encode(c, bytes)] = 0;\n        at.at = bytes;\n"
        '        printf("%d%d", m_is_word(c), m_is_space(c));\n        while ((v = m_lower(&at)) != 0) '
        'printf(" %X", (unsigned)v);\n        printf("\\n");\n    }\n    return 0;\n}\n'
    )
    printed = compiler.run_program(compiler.compile_program([tmp_path / "all.c"], tmp_path)).splitlines()
    word, space, code = re.compile(r"\w"), re.compile(r"\s"), 0
    changed = {c: chr(c).lower() for c in range(0x110000) if chr(c).lower() != chr(c)}
    for line in printed:
        code = 0xE000 if code + 1 == 0xD800 else code + 1
        letter = chr(code)
        small = " ".join(f"{ord(s):X}" for s in changed.get(code, letter))
        assert line == f"{int(bool(word.match(letter)))}{int(bool(space.match(letter)))} {small}", f"U+{code:04X}"
    assert code == 0x10FFFF


def test_columns_that_no_sum_takes_in_are_refused_in_a_sentence() -> None:
    builder = ir.Builder([ir.Feature("text", ir.TEXT)])
    hashed = builder.add(ir.Words(builder.row, 1 << 18))
    best = builder.add(ir.Argmax(hashed))
    with pytest.raises(ConversionError, match="bytes of memory for one row.*fewer columns"):
        EMITTER.emit(builder.program({"predict": ir.Answer(best)}, "t"), EmitSettings())
