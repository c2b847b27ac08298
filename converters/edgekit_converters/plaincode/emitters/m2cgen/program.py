"""A program as one file of a language."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitter import EmitSettings
from edgekit_converters.plaincode.emitters.m2cgen import steps
from edgekit_converters.plaincode.emitters.m2cgen.dialect import CLASS, CLASSES, Dialect, kind_of
from edgekit_converters.plaincode.emitters.m2cgen.names import comment_lines
from edgekit_converters.plaincode.emitters.m2cgen.nodes import CallExpr, NameExpr
from edgekit_converters.plaincode.emitters.m2cgen.writer import Scope, Writer


def module_of(program: ir.Program, settings: EmitSettings, dialect: Dialect) -> str:
    """The file's text."""
    writer = Writer(dialect)
    chosen = tuple(settings.methods or program.methods)
    names: dict[int, str] = {}
    for index in program.needed(chosen):
        step = program.steps[index]
        single = bool(step.sources) and _single(program, step.sources[0])
        names[index] = steps.write(writer, step, dialect.internal(f"r{index + 1}"), single)
    methods = "\n".join(_method(program, name, dialect, writer, names) for name in chosen)
    tables = "".join(_table(name, program.methods[name], dialect) for name in chosen)
    comment = comment_lines(_about(program, chosen, dialect), dialect.comment)
    return dialect.module(settings.prefix, comment, tables, methods, writer.functions)


def _single(program: ir.Program, register: ir.Register) -> bool:
    """Whether a register holds float32 numbers."""
    if register.index == 0:
        return False
    step = program.steps[register.index - 1]
    if isinstance(step, (ir.Select, ir.Concat)):
        return all(_single(program, r) for r in step.sources)
    return isinstance(step, ir.Round32)


def _method(program: ir.Program, name: str, dialect: Dialect, writer: Writer, names: dict[int, str]) -> str:
    answers = program.methods[name]
    kind = kind_of(answers)
    scope = Scope(writer, name, [], 0)
    code = scope.generator
    code.add_code_line(dialect.public(dialect.method(name), kind))
    code.increase_indent()
    for line in dialect.check(len(program.features)):
        code._write_to_code_buffer(" " * code._current_indent + line + "\n")
    registers = {0: NameExpr("row", True)}
    if dialect.row != "row":
        code.add_var_assignment(dialect.variable("row"), dialect.row, 2)
    for index in program.needed((name,)):
        step = program.steps[index]
        call = CallExpr(names[index], [registers[r.index] for r in step.sources], vector=True)
        registers[index + 1] = scope.let(call)
    parts = [dialect.variable(registers[a.register.index].name) for a in answers]
    code.add_return_statement(dialect.result(kind, parts))
    code.add_block_termination()
    return str(code.finalize_and_get_generated_code())


def _table(name: str, answers: Sequence[ir.Answer], dialect: Dialect) -> str:
    if kind_of(answers) not in {CLASS, CLASSES}:
        return ""
    text = any(isinstance(label, str) or float(label) != label for a in answers for label in a.labels)
    rows = [[dialect.text(str(v)) if text else dialect.number(float(v)) for v in a.labels] for a in answers]
    return dialect.table(f"{name.upper()}_CLASSES", rows, text)


def _about(program: ir.Program, methods: Sequence[str], dialect: Dialect) -> list[str]:
    lines = [f"{program.title or 'A model'}, as {dialect.title} by edgekit, through m2cgen.", ""]
    lines += ["A row holds, in this order:", ""]
    for feature in program.features:
        line = f"  - {feature.name}: {feature.kind}"
        if feature.categories:
            shown = ", ".join(f"{i} = {c}" for i, c in enumerate(feature.categories[:20]))
            more = ", ..." if len(feature.categories) > 20 else ""
            line += f", given as a number ({shown}{more}; -1 = any other)"
        lines.append(line + (", may be missing (NaN)" if feature.missing else ""))
    named = [dialect.method(m) for m in methods if kind_of(program.methods[m]) in {CLASS, CLASSES}]
    return [*lines, "", *(f"{name} gives places in its table of classes." for name in named)]
