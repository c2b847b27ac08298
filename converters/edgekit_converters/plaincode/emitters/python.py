"""Plain Python, one module that imports nothing but `math`: for CPython, and for MicroPython on boards.

Numbers are Python's floats. Where those are float64 (CPython, and MicroPython ports built with double precision) the
answers are those of the other languages; ports with float32 round further. Text follows `str.lower`, `str.isalnum` and
`str.isspace` of the Python that runs the module: MicroPython knows only ASCII letters there.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from keyword import iskeyword

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitter import EmitSettings, Emitter
from edgekit_converters.plaincode.emitters import python_steps as steps
from edgekit_converters.plaincode.emitters.python_text import TEXT_HELPERS, words_code
from edgekit_converters.plaincode.streaming import feature_of, reads_text, stream


class Python(Emitter):
    """``PREFIX.py``: a function for each method, from one row to its answer."""

    name = "python"
    title = "plain Python"

    def refuses(self, program: ir.Program) -> str:
        for index in program.needed():
            step = program.steps[index]
            if not (steps.writes(step) or isinstance(step, ir.Words)):
                return f"there is no Python for the step {step.name}"
        return ""

    def emit(self, program: ir.Program, settings: EmitSettings) -> Mapping[str, str]:
        if reason := self.refuses(program):
            raise ConversionError(reason, "choose another export format")
        for method in settings.methods or program.methods:
            if method not in program.methods:
                raise ConversionError(f"the model has no method {method!r:.40}", f"it has {', '.join(program.methods)}")
            if (
                not method.isidentifier()
                or iskeyword(method)
                or method in {"math", "FEATURES"}
                or method.startswith("_")
            ):
                raise ConversionError(f"a method named {method!r:.60} cannot be a function", "rename it")
        return {f"{settings.prefix}.py": _module(stream(program), settings)}


def _module(program: ir.Program, settings: EmitSettings) -> str:
    order = program.needed(settings.methods)
    sparse = {i for i in order if isinstance(program.steps[i], ir.Words)}
    parts = [_function(program, i, sparse) for i in order]
    parts += [_method(program, name, sparse) for name in (settings.methods or program.methods)]
    body = "\n\n".join(parts)
    helpers = {**steps.HELPERS, **TEXT_HELPERS}
    used: list[str] = []
    waiting = [body]
    while waiting:
        text = waiting.pop()
        for name, code in helpers.items():
            if name not in used and re.search(rf"\b{name}\(", text):
                used.append(name)
                waiting.append(code)
    chosen = "\n\n".join(code.rstrip("\n") + "\n" for name, code in helpers.items() if name in used)
    text = f"{chosen}\n\n{body}" if chosen else body
    constants = "".join(
        f'{name} = float("{word}")\n' for name, word in (("_NAN", "nan"), ("_INF", "inf")) if name in text
    )
    imports = "import math\n\n" if re.search(r"\bmath\.", text) else ""
    names = "".join(f"    {f.name!a},\n" for f in program.features)
    return f'"""{_about(program)}"""\n\n{imports}{constants}FEATURES = (\n{names})\n\n\n{text}'


def _about(program: ir.Program) -> str:
    title = ascii(program.title or "A model")[1:-1].replace('"', "'")
    lines = [f"{title}, as plain Python by edgekit.", "", "A row is one value a feature:", ""]
    for feature in program.features:
        line = f"    {ascii(feature.name)[1:-1]}: {feature.kind}"
        if feature.categories:
            shown = [ascii(c)[:40] for c in feature.categories[:20]]
            line += f" ({', '.join(f'{i} = {c}' for i, c in enumerate(shown))}; -1 = any other)"
        lines.append(line.replace("\\", "\\\\").replace('"', "'"))
    return "\n".join(lines) + "\n"


def _function(program: ir.Program, index: int, sparse: set[int]) -> str:
    """A step's constants and function."""
    step, name = program.steps[index], f"_s{index + 1}"
    if isinstance(step, ir.Words):
        code = words_code(step, name)
    elif isinstance(step, ir.Dense) and reads_text(program, step):
        code = _sparse_dense(step, name)
    else:
        code = steps.write(step, name)
        if sparse & {r.index - 1 for r in step.sources}:
            width = {r.index - 1: r.width for r in step.sources}
            spread = [
                f"{p} = [{p}.get(i, 0.0) for i in range({width[r.index - 1]})]"
                for p, r in zip(steps.parameters(step), step.sources, strict=True)
                if r.index - 1 in sparse
            ]
            code = steps.Code(spread + code.body, code.constants)
    constants = "".join(f"{name}_{word} = {text}\n" for word, text in code.constants.items())
    constants = constants + "\n\n" if constants else ""
    body = textwrap.indent("\n".join(code.body), "    ")
    return f"{constants}def {name}({', '.join(steps.parameters(step))}):\n{body}\n"


def _sparse_dense(step: ir.Dense, name: str) -> steps.Code:
    weights = np.asarray(step.weights, np.float64)
    used = np.flatnonzero((weights != 0).any(axis=1))
    table = "".join(f"{int(i)}: {steps.literal(weights[i])}, " for i in used)
    body = [
        f"out = [0.0] * {step.width}",
        "for column in sorted(x):",
        f"    for i, w in enumerate({name}_weights.get(column, ())):",
        "        out[i] += x[column] * w",
    ]
    return steps.with_bias(step, name, body, {"weights": f"{{{table}}}"})


def _method(program: ir.Program, method: str, sparse: set[int]) -> str:
    """The public function of a method."""
    only_text = len(program.features) == 1 and program.features[0].kind == ir.TEXT
    texts = [i for i, f in enumerate(program.features) if f.kind == ir.TEXT]
    parameter = "text" if only_text else "row"
    count = len(program.features)
    lines = []
    if only_text:
        lines.append("row = [text]")
    else:
        lines += [f"if len(row) != {count}:", f'    raise ValueError("a row has {count} values")']
    value = f"0.0 if i in {steps.literal(texts)} else float(v)" if texts else "float(v)"
    lines.append(f"r0 = [{value} for {'i, v in enumerate(row)' if texts else 'v in row'}]")
    for index in program.needed((method,)):
        step = program.steps[index]
        if isinstance(step, ir.Words):
            given = [f"row[{feature_of(program, step)}]"]
        else:
            given = [f"r{r.index}" for r in step.sources]
        lines.append(f"r{index + 1} = _s{index + 1}({', '.join(given)})")
    results = []
    for answer in program.methods[method]:
        place = f"r{answer.register.index}"
        if answer.labels:
            results.append(f"{_labels(answer)}[int({place}[0])]")
        elif answer.register.index - 1 in sparse:
            results.append(f"[{place}.get(i, 0.0) for i in range({answer.register.width})]")
        elif answer.register.width == 1 and len(program.methods[method]) == 1:
            results.append(f"{place}[0]")
        else:
            results.append(f"list({place})")
    result = results[0] if len(results) == 1 else f"[{', '.join(results)}]"
    body = textwrap.indent("\n".join([*lines, f"return {result}"]), "    ")
    return f"def {method}({parameter}):\n{body}\n"


def _labels(answer: ir.Answer) -> str:
    items = [ascii(v) if isinstance(v, str) else steps.literal(v) for v in answer.labels]
    return f"({', '.join(items)},)"


EMITTER = Python()
