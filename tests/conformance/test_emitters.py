"""What every output language must hold: it writes a program or refuses it in one sentence, and no name breaks out."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from importlib.metadata import entry_points

import numpy as np
import pytest

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitter import EMITTERS, EmitSettings, emitter

from ..converters.plaincode.random_programs import ANY_KINDS, EXACT_KINDS, program_of

NAMES = sorted({*EMITTERS, *(e.name for e in entry_points(group="edgekit.plaincode.emitters"))})
every_emitter = pytest.mark.parametrize("name", NAMES)
HOSTILE = (
    "x\nEVIL(",
    "*/EVIL(",
    "?>EVIL(",
    '"""EVIL(',
    "'''EVIL(",
    "\\u000aEVIL(",
    "\u2028EVIL(",
    "$EVIL",
    "é\r\tEVIL",
    "",
)


def small(
    names: tuple[str, ...] = ("a", "b"), labels: tuple[str | float, ...] = ("no", "yes"), method: str = "predict"
):
    builder = ir.Builder([ir.Feature(name) for name in names])
    scores = builder.add(ir.Dense(builder.row, np.arange(2.0 * len(names)).reshape(-1, 2), np.array([1.0, -1.0])))
    methods = {method: ir.Answer(builder.add(ir.Argmax(scores)), labels), "scores": ir.Answer(scores)}
    return builder.program(methods, f"a model {names[0]}")


def written(name: str, program: ir.Program, prefix: str = "model", **settings: object) -> Mapping[str, str]:
    return emitter(name).emit(program, EmitSettings(prefix=prefix, **settings))


def one_sentence(error: Exception) -> bool:
    return "\n" not in str(error) and 10 < len(str(error)) < 300


@every_emitter
def test_a_language_says_what_it_is(name):
    found = emitter(name)
    assert found.name == name and found.title == found.title.strip()


@every_emitter
@pytest.mark.parametrize("kind", [*EXACT_KINDS, *ANY_KINDS])
def test_each_step_is_written_or_refused_in_one_sentence(name, kind):
    program, _ = program_of(4, [kind], 7)
    reason = emitter(name).refuses(program)
    if not reason:
        files = written(name, program)
        assert all(text.endswith("\n") and "/" not in file for file, text in files.items())
        assert files == written(name, program), "the same program gives the same code"
        return
    with pytest.raises(ConversionError) as error:
        written(name, program)
    assert one_sentence(error.value) and reason in str(error.value)


@every_emitter
def test_no_name_ends_a_comment_or_a_string(name):
    text = "".join(written(name, small(HOSTILE, (HOSTILE[0], '"EVIL('))).values())
    assert "EVIL" in text
    if name == "python":
        assert not [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name) and "EVIL" in n.id]
    elif name == "c":  # in comments that lines do not end
        assert "*/EVIL" not in text
    else:
        assert not re.search(r"(?m)^\s*EVIL|[\r\u2028]", text), "a name begins a line"
    if name == "php":
        assert "?>" not in text
    if name == "java":
        assert not re.search(r"(?<!\\)(?:\\\\)*\\u000a", text), "javac reads such escapes even in comments"


@every_emitter
def test_two_prefixes_give_files_that_stand_side_by_side(name):
    one, other = written(name, small(), "first"), written(name, small(), "second")
    for files, prefix, foreign in ((one, "first", "second"), (other, "second", "first")):
        assert any(prefix in file.lower() for file in files)
        assert not any(foreign in (file + text).lower() for file, text in files.items())
    assert one != other


@every_emitter
@pytest.mark.parametrize("prefix", ["", "1st", "a b", "a;b", "a/b", "ä", "x" * 60])
def test_a_prefix_that_is_no_name_is_refused(name, prefix):
    with pytest.raises(UsageError) as error:
        written(name, small(), prefix)
    assert one_sentence(error.value)


@every_emitter
@pytest.mark.parametrize("method", ["a b", "x();//", "", "1st"])
def test_a_method_that_cannot_be_named_is_refused(name, method):
    with pytest.raises(ConversionError) as error:
        written(name, small(method=method))
    assert one_sentence(error.value)


@every_emitter
def test_chosen_methods_alone_are_written(name):
    only = "".join(written(name, small(method="predict"), methods=("predict",)).values())
    assert "predict" in only.lower() and "scores" not in only.lower()
    with pytest.raises(ConversionError) as error:
        written(name, small(), methods=("predict", "transform"))
    assert one_sentence(error.value) and "transform" in str(error.value)
