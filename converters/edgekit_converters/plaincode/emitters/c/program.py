"""A program's C: steps become static functions, methods call them one after the other over a few shared buffers."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.c import steps, text
from edgekit_converters.plaincode.emitters.c.literals import BYTES, table
from edgekit_converters.plaincode.emitters.c.registers import Layout, Place, Plan, plan
from edgekit_converters.plaincode.emitters.c.shape import CLASS, NUMBER, Inputs, Method, inputs_of, methods_of
from edgekit_converters.plaincode.emitters.c.trees import TreeCode, tree_code
from edgekit_converters.plaincode.streaming import feature_of, reads_text, stream

STACK_LIMIT = 1 << 18
"""Bytes of local arrays that a method may take; what needs more is refused, since the code never allocates."""
_BLOCK = 2048
_LIBM = re.compile(r"\b(exp|exp2|expm1|log|log1p|tanh|sqrt)f?\(")
_EXACT = """\
/* Products and sums are rounded one by one, as the model's source rounds them; never fused. */
#if defined(__FAST_MATH__)
#error "compile without -ffast-math: the answers depend on NaN and on the order of sums"
#elif defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize ("fp-contract=off")
#endif
#if DBL_MANT_DIG < 53
#error "double has fewer than 64 bits here: on AVR compile with -mdouble=64"
#endif
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "floats are computed in more than their own precision here: compile with -msse2 -mfpmath=sse"
#endif
"""


@dataclass
class Source:
    """C of a program while it is written.

    Attributes:
        program: Rewritten so that text is summed as it is read.
        settings: How to write it.
        methods: Public functions.
        inputs: What they take.
        definitions: Tables and static functions of the steps.
        functions: The public functions.
        stack: Method to the bytes of its local arrays.
        rows_stack: The same for its function of many rows.
    """

    program: ir.Program
    settings: EmitSettings
    methods: tuple[Method, ...] = ()
    inputs: Inputs = field(init=False)
    definitions: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    stack: dict[str, int] = field(default_factory=dict)
    rows_stack: dict[str, int] = field(default_factory=dict)
    _layouts: dict[int, Layout] = field(default_factory=dict)
    _types: dict[int, str] = field(default_factory=dict)
    _trees: dict[int, TreeCode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.methods = methods_of(self.program, self.settings.methods)
        self.inputs = inputs_of(self.program, self.settings)
        self._types[0] = self.inputs.ctype
        self.program = stream(self.program)
        self.methods = methods_of(self.program, self.settings.methods)
        order = self.program.needed(self.settings.methods)
        self.definitions.append(text.shared(self.program, order, self.settings.prefix))
        fused = self._fused(order)
        for index in order:
            self._add(index, fused)
        for method in self.methods:
            self._method(method)

    @property
    def code(self) -> str:
        """Everything after the includes."""
        return "\n".join(part for part in (*self.definitions, *self.functions) if part)

    @property
    def error(self) -> float:
        """How far sums of trees may be from the source's, because of the leaves that were asked for."""
        return max((t.error for t in self._trees.values()), default=0.0)

    @property
    def libm(self) -> tuple[str, ...]:
        """Functions of libm that it calls."""
        return tuple(sorted({m.group(0)[:-1] for m in _LIBM.finditer(self.code)}))

    def _fused(self, order: Sequence[int]) -> dict[int, int]:
        """Step to the only step that reads it, which computes it on the way and never keeps it."""
        readers: dict[int, list[int]] = {}
        for index in order:
            for register in self.program.steps[index].sources:
                readers.setdefault(register.index - 1, []).append(index)
        kept = {a.register.index - 1 for m in self.methods for a in m.answers}
        found = {}
        for index, reading in readers.items():
            if index < 0 or index in kept:
                continue
            step, kinds = self.program.steps[index], {type(self.program.steps[r]) for r in reading}
            if (isinstance(step, ir.Distances) and kinds == {ir.Nearest} and len(reading) == 1) or (
                isinstance(step, ir.Words) and kinds == {ir.Dense}
            ):
                found[index] = reading[0]
        return found

    def _name(self, index: int) -> str:
        return f"{self.settings.prefix}_s{index + 1}"

    def _add(self, index: int, fused: dict[int, int]) -> None:
        """Lay a step out and write its function."""
        step, name = self.program.steps[index], self._name(index)
        alias = self._alias(step)
        if alias is not None:
            self._types[index + 1] = self._types[alias[0]]
            self._layouts[index] = Layout(self._types[index + 1], alias=alias, reads=step.sources)
            return
        if index in fused:
            self._types[index + 1] = ""
            return
        if isinstance(step, ir.Constant):
            self._types[index + 1] = steps.result_type(step, ())
            self._layouts[index] = Layout(self._types[index + 1])
            self.definitions.append(table(name, step.values))
            return
        types = tuple(self._types[r.index] for r in step.sources)
        if isinstance(step, ir.Trees):
            made = tree_code(step, name, self.settings)
            self._trees[index] = made
            self.definitions.append(made.definitions)
            self._types[index + 1] = made.out
            self._layouts[index] = Layout(made.out, key=made.key, reads=step.sources)
            return
        reads, scratch = step.sources, steps.scratch_bytes(step)
        if isinstance(step, ir.Words):
            reads, types = (ir.Register(0, 1),), ("char",)
            code = text.dense_code(step, name)
        elif isinstance(step, ir.Dense) and step.source.index - 1 in fused:
            words = cast(ir.Words, self.program.steps[step.source.index - 1])
            reads, types = (ir.Register(0, 1),), ("char",)
            code, scratch = text.streamed_code(words, step, name)
        elif isinstance(step, ir.Nearest) and step.source.index - 1 in fused:
            distances = cast(ir.Distances, self.program.steps[step.source.index - 1])
            reads = distances.sources
            types = (self._types[reads[0].index],)
            code = steps.nearest(step, name, types, f"{name}_distance(x, i)")
            code = steps.Code(code.body, steps.distance_function(distances, name, types[0]) + code.tables)
        else:
            code = steps.write(step, name, types)
        ctype = steps.result_type(step, types)
        self._types[index + 1] = ctype
        self._layouts[index] = Layout(ctype, steps.works_in_place(step), None, scratch, "", reads)
        self.definitions.append(code.tables + _function(name, types, ctype, code.body, isinstance(step, ir.Concat)))

    def _alias(self, step: ir.Step) -> tuple[int, int] | None:
        """Where a step's result lies already, for steps that change nothing."""
        if isinstance(step, ir.Round32) and self._types[step.source.index] == "float":
            return step.source.index, 0
        if isinstance(step, ir.Select) and step.columns and self._types[step.source.index]:
            first = step.columns[0]
            if step.columns == tuple(range(first, first + len(step.columns))):
                return step.source.index, first
        if isinstance(step, ir.Concat) and len(step.parts) == 1:
            return step.parts[0].index, 0
        return None

    def _method(self, method: Method) -> None:
        prefix, order = self.settings.prefix, self.program.needed((method.name,))
        order = tuple(i for i in order if i in self._layouts)
        answers = [a.register for a in method.answers]
        given = {
            i + 1: Place(self._name(i), self._types[i + 1])
            for i in order
            if isinstance(self.program.steps[i], ir.Constant)
        }
        row = Place("x", self.inputs.ctype)
        if len(answers) == 1 and not method.scalar and self._types[answers[0].index] == "double" and answers[0].index:
            given.setdefault(answers[0].index, Place("out", "double"))
        heads = self._heads(order, method)
        full = self._plan(order, row, answers, given)
        returned = f"{method.ctype} " if method.scalar else "void "
        target = "" if method.scalar else f", {method.target(prefix)}"
        public = f"{prefix}_{method.name}"
        if not heads:
            body = self._body(full, method)
            self.functions.append(f"{returned}{public}({self.inputs.parameters(prefix)}{target})\n{{\n{body}}}\n")
            self.functions.append(self._rows(method))
            self.stack[method.name] = self.rows_stack[method.name] = full.stack
            return
        placed = {i + 1: Place(f"t{n}", self._trees[i].out) for n, i in enumerate(heads)}
        rest = self._plan([i for i in order if i not in heads], row, answers, {**given, **placed}, placed)
        parameters = "".join(f", const {p.ctype} *{p.expression}" for p in placed.values())
        self.functions.append(
            f"static {returned}{public}_rest({self.inputs.parameters(prefix)}{parameters}{target})\n{{\n"
            f"{self._body(rest, method)}}}\n"
        )
        one, many = self._with_heads(method, heads)
        self.stack[method.name], self.rows_stack[method.name] = rest.stack + one, rest.stack + many

    def _heads(self, order: Sequence[int], method: Method) -> list[int]:
        """Trees that look at the caller's row itself and take many rows at once."""
        found = []
        for index in order:
            step = self.program.steps[index]
            if index not in self._trees or not self._trees[index].rows_function:
                continue
            register = step.sources[0].index
            while register and (alias := self._layouts[register - 1].alias) is not None and alias[1] == 0:
                register = alias[0]
            if register == 0 and self._trees[index].key == self.inputs.ctype and not self.inputs.texts:
                found.append(index)
        return found

    def _plan(
        self,
        order: Sequence[int],
        row: Place,
        answers: Sequence[ir.Register],
        given: dict[int, Place],
        placed: dict[int, Place] | None = None,
    ) -> Plan:
        made = plan(self.program, order, self._layouts, row, answers, given, placed or {})
        if made.stack > STACK_LIMIT:
            raise ConversionError(
                f"the model needs {made.stack} bytes of memory for one row, over the {STACK_LIMIT} that C may take",
                "use fewer columns (features of the text, support vectors) or another export format",
            )
        return made

    def _body(self, made: Plan, method: Method) -> str:
        lines = [f"{b.ctype} {b.name}[{max(b.width, 1)}];" for b in made.buffers]
        for call in made.calls:
            step = self.program.steps[call.index]
            if isinstance(step, ir.Constant):
                continue
            sources = [s.expression for s in call.sources]
            if reads_text(self.program, step):
                sources = [self._text(step)]
            if call.key is not None:
                lines.append(
                    f"{{\n    int i;\n    for (i = 0; i < {step.sources[0].width}; i++) "
                    f"{call.key.expression}[i] = ({call.key.ctype}){_indexed(sources[0])};\n}}"
                )
                sources = [call.key.expression]
            function = self._trees[call.index].function if call.index in self._trees else self._name(call.index)
            lines.append(f"{function}({', '.join([*sources, call.target.expression])});")
        lines += self._results(made, method)
        given = [name for name, there in (("x", self.inputs.row), ("text", self.inputs.texts)) if there]
        unused = [f"(void){n};" for n in given if not any(re.search(rf"\b{n}\b", line) for line in lines)]
        lines[len(made.buffers) : len(made.buffers)] = unused
        return textwrap.indent("\n".join(lines), "    ") + "\n"

    def _text(self, step: ir.Step) -> str:
        place = feature_of(self.program, step)
        return "text" if len(self.inputs.texts) == 1 else f"text[{self.inputs.texts.index(place)}]"

    def _results(self, made: Plan, method: Method) -> list[str]:
        places = [made.places[a.register.index] for a in method.answers]
        if method.scalar:
            value = _first(places[0].expression)
            return [f"return (int){value};" if method.kind == CLASS else f"return {value};"]
        lines, at = [], 0
        for answer, place in zip(method.answers, places, strict=True):
            width = 1 if method.ctype == "int" else answer.register.width
            cast = "(int)" if method.ctype == "int" else ""
            if place.expression != "out":
                if width == 1:
                    lines.append(f"out[{at}] = {cast}{_first(place.expression)};")
                else:
                    lines.append(
                        f"{{\n    int i;\n    for (i = 0; i < {width}; i++) out[{at} + i] = "
                        f"{_indexed(place.expression)};\n}}"
                    )
            at += width
        return lines

    def _rows(self, method: Method) -> str:
        public = f"{self.settings.prefix}_{method.name}"
        arguments = self.inputs.arguments("i", len(self.program.features))
        one = (
            f"out[i] = {public}({arguments});" if method.scalar else f"{public}({arguments}, out + i * {method.size});"
        )
        return f"{_rows_head(self, method)}{{\n    size_t i;\n    for (i = 0; i < rows; i++) {one}\n}}\n"

    def _with_heads(self, method: Method, heads: Sequence[int]) -> tuple[int, int]:
        """The functions of one row and of many, with the trees run first; bytes of stack for their answers in both."""
        prefix, features = self.settings.prefix, len(self.program.features)
        public = f"{prefix}_{method.name}"
        widths = [self.program.steps[i].width for i in heads]
        trees = [self._trees[i] for i in heads]
        size = sum(w * BYTES[t.out] for w, t in zip(widths, trees, strict=True))
        block = max(1, min(64, _BLOCK // size))
        names = ", ".join(f"t{n}" for n in range(len(heads)))
        single = "".join(f"    {t.out} t{n}[{w}];\n" for n, (w, t) in enumerate(zip(widths, trees, strict=True)))
        single += "".join(f"    {t.function}(x, t{n});\n" for n, t in enumerate(trees))
        returned, target = (f"{method.ctype} ", "") if method.scalar else ("void ", f", {method.target(prefix)}")
        call = f"return {public}_rest(x, {names});" if method.scalar else f"{public}_rest(x, {names}, out);"
        self.functions.append(
            f"{returned}{public}({self.inputs.parameters(prefix)}{target})\n{{\n{single}    {call}\n}}\n"
        )
        many = "".join(f"    {t.out} t{n}[{block * w}];\n" for n, (w, t) in enumerate(zip(widths, trees, strict=True)))
        runs = "".join(
            f"        {t.rows_function}(x + i * {features}, t{n}, count, {features}, {w});\n"
            for n, (w, t) in enumerate(zip(widths, trees, strict=True))
        )
        each = ", ".join(f"t{n} + k * {w}" for n, w in enumerate(widths))
        rest = f"{public}_rest(x + (i + k) * {features}, {each}"
        rest = f"out[i + k] = {rest});" if method.scalar else f"{rest}, out + (i + k) * {method.size});"
        self.functions.append(
            f"{_rows_head(self, method)}{{\n{many}    size_t i, k, count;\n"
            f"    for (i = 0; i < rows; i += count) {{\n"
            f"        count = rows - i < {block} ? rows - i : {block};\n{runs}"
            f"        for (k = 0; k < count; k++) {rest}\n    }}\n}}\n"
        )
        return size, size * block


def _rows_head(source: Source, method: Method) -> str:
    prefix = source.settings.prefix
    return f"void {prefix}_{method.name}_rows({source.inputs.parameters(prefix, rows=True)}, {method.ctype} *out)\n"


def _function(name: str, types: Sequence[str], ctype: str, body: str, numbered: bool) -> str:
    names = [f"x{i}" for i in range(len(types))] if numbered else ["x", "y"][: len(types)]
    parameters = ", ".join(f"const {t} *{n}" for t, n in zip(types, names, strict=True))
    return f"static void {name}({parameters}, {ctype} *out)\n{{\n{textwrap.indent(body.rstrip(), '    ')}\n}}\n"


def _indexed(expression: str) -> str:
    return f"({expression})[i]" if " " in expression else f"{expression}[i]"


def _first(expression: str) -> str:
    name, _, offset = expression.partition(" + ")
    return f"{name}[{offset or 0}]"


def source_of(program: ir.Program, settings: EmitSettings) -> tuple[str, Source]:
    """The whole ``PREFIX.c``, and what was found out on the way."""
    source = Source(program, settings)
    code = source.code
    includes = ["float.h"] if source.methods else []
    includes += [h for h, found in (
        ("math.h", re.search(r"\bNAN\b|INFINITY|\bfabsf?\(", code) or source.libm),
        ("stdint.h", re.search(r"\bu?int\d+_t\b", code)),
        ("string.h", re.search(r"\b(mem|str)[a-z]+\(", code)),
    ) if found]  # fmt: skip
    head = f'#include "{settings.prefix}.h"\n' + "".join(f"#include <{h}>\n" for h in includes)
    return f"{head}\n{_EXACT}\n{code}", source


__all__ = ["NUMBER", "STACK_LIMIT", "Source", "source_of"]
