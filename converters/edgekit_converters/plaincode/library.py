"""The C file beside a model's code that makes a shared library of it which says of itself what it takes and gives.

`edgekit_runtime.backends.plain` has the interface in words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.c.shape import CLASS, Inputs, Method, inputs_of, methods_of
from edgekit_converters.plaincode.ir import Program
from edgekit_runtime.backends.plain import ABI
from edgekit_runtime.manifest import TensorInfo

_DTYPES = {"float": "float32", "double": "float64", "int": "int32"}
_LONGEST = 4000  # bytes of a string literal that C99 promises to take, nearly

_CODE = """\
/* Made by edgekit: lets edgekit-runtime load PREFIX.c as a shared library. Leave it out of your own project.
   cc -O2 -shared -fPIC -o model.so PREFIX.c NAME -lm */
#include "PREFIX.h"
#include <stddef.h>

extern const char edgekit_description[];
int edgekit_run(int answer, const void *rows, size_t count, void *out);

const char edgekit_description[] =
    TEXT;

/* Answer number `answer` of the description for `count` rows; 0 where there is one. */
int edgekit_run(int answer, const void *rows, size_t count, void *out)
{
    switch (answer) {
CASES    default:
        return 1;
    }
    return 0;
}
"""
_ONE_HOT = """\
        {
            const INPUT *x = (const INPUT *)rows;
            double *share = (double *)out;
            size_t i;
            int k;
            for (i = 0; i < count; i++) {
                const int place = PREFIX_METHOD(x[i * STEP]);
                for (k = 0; k < SIZE; k++)
                    share[i * SIZE + (size_t)k] = k == place ? 1.0 : 0.0;
            }
        }
        break;
"""


def input_dtype(program: Program, settings: EmitSettings) -> str:
    """The numpy dtype of what the library takes: ``float32``, ``float64``, or ``string`` for one text a row.

    Raises:
        ConversionError: A row holds numbers and texts, or several texts.
    """
    inputs = inputs_of(program, settings)
    if inputs.texts and (inputs.row or len(inputs.texts) > 1):
        raise ConversionError(
            "a row of several texts, or of a text and numbers, does not reach the runtime",
            "give the model one text, or write the C alone with edgekit_converters.plaincode",
        )
    return "string" if inputs.texts else _DTYPES[inputs.ctype]


def library_code(
    program: Program, settings: EmitSettings, main: str, taken: TensorInfo, outputs: Sequence[TensorInfo], name: str
) -> str:
    """C of the library's interface.

    Args:
        program: The model.
        settings: As its code was written with.
        main: The method that the bundle uses.
        taken: The model's input.
        outputs: What `main` is cut into.
        name: Of the file, for its head comment.
    """
    inputs, methods = inputs_of(program, settings), methods_of(program, settings.methods)
    width = 0 if inputs.texts else len(program.features)
    described = {
        "abi": ABI,
        "input": {"name": taken.name, "dtype": input_dtype(program, settings), "width": width},
        "answers": [_answer(m, main, outputs) for m in methods],
    }
    text = json.dumps(described, separators=(",", ":"))
    if len(text) > _LONGEST:
        raise ConversionError(f"the model has too many answers ({len(text)} bytes to say them)", "choose fewer methods")
    lines = [text[i : i + 100] for i in range(0, len(text), 100)]
    literal = "\n    ".join('"' + line.replace("\\", "\\\\").replace('"', '\\"') + '"' for line in lines)
    cases = "".join(
        f"    case {i}:\n{_case(m, inputs, settings, outputs if m.name == main else (), width)}"
        for i, m in enumerate(methods)
    )
    return (
        _CODE.replace("TEXT", literal).replace("CASES", cases).replace("NAME", name).replace("PREFIX", settings.prefix)
    )


def _one_hot(method: Method, outputs: Sequence[TensorInfo]) -> bool:
    """Whether classes are all that there is, and the bundle wants a score for each of them."""
    return method.kind == CLASS and len(outputs) == 1 and outputs[0].shape[1] > 1


def _answer(method: Method, main: str, outputs: Sequence[TensorInfo]) -> dict[str, object]:
    parts = [[o.name, o.shape[1]] for o in outputs] if method.name == main else []
    if parts and _one_hot(method, outputs):
        return {"name": method.name, "dtype": "float64", "width": outputs[0].shape[1], "parts": parts}
    size = 1 if method.scalar else method.size
    return {"name": method.name, "dtype": _DTYPES[method.ctype], "width": size, "parts": parts}


def _case(method: Method, inputs: Inputs, settings: EmitSettings, outputs: Sequence[TensorInfo], width: int) -> str:
    kind = "char *const" if inputs.texts else f"{settings.prefix}_input"
    if _one_hot(method, outputs):
        given = "x[i]" if inputs.texts else f"x + i * {width}"
        code = _ONE_HOT.replace("x[i * STEP]", given).replace("INPUT", kind)
        return code.replace("METHOD", method.name).replace("SIZE", str(outputs[0].shape[1]))
    return (
        f"        {settings.prefix}_{method.name}_rows((const {kind} *)rows, count, ({method.ctype} *)out);\n"
        "        break;\n"
    )
