"""``PREFIX.h``: what a caller must know, in comments and declarations; and the tables of class names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.c.literals import comment, identifier, number, string, table_bytes
from edgekit_converters.plaincode.emitters.c.program import Source
from edgekit_converters.plaincode.emitters.c.shape import CLASS, CLASSES, Method

Labels = tuple[str | float | int, ...]


@dataclass(frozen=True)
class LabelTable:
    """A function from a place to a class name or number.

    Attributes:
        function: Its name.
        ctype: What it returns.
        labels: One tuple of labels for each output of the method.
    """

    function: str
    ctype: str
    labels: tuple[Labels, ...]

    @property
    def signature(self) -> str:
        """Its C declaration without the semicolon."""
        apart = "" if self.ctype.endswith("*") else " "
        parameters = "int place" if len(self.labels) == 1 else "int output, int place"
        return f"{self.ctype}{apart}{self.function}({parameters})"

    @property
    def code(self) -> str:
        """Its table and its C."""
        flat = [label for labels in self.labels for label in labels]
        stem = f"{self.function}_table"
        if self.ctype == "const char *":
            items, ctype, none = [string(str(label)) for label in flat], "char *const", "0"
        elif self.ctype == "long":
            items, ctype, none = [str(int(label)) for label in flat], "long", "0"
        else:
            items, ctype, none = [number(label) for label in flat], "double", "0.0"
        rows = ",\n    ".join(items)
        code = f"static const {ctype} {stem}[{len(items)}] = {{\n    {rows}\n}};\n"
        if len(self.labels) == 1:
            body = f"    return place >= 0 && place < {len(flat)} ? {stem}[place] : {none};\n"
        else:
            ends = [0]
            for labels in self.labels:
                ends.append(ends[-1] + len(labels))
            starts = ", ".join(str(e) for e in ends)
            body = (
                f"    static const int starts[{len(ends)}] = {{{starts}}};\n"
                f"    if (output < 0 || output >= {len(self.labels)} || place < 0) return {none};\n"
                f"    if (place >= starts[output + 1] - starts[output]) return {none};\n"
                f"    return {stem}[starts[output] + place];\n"
            )
        return f"{code}{self.signature}\n{{\n{body}}}\n"


def label_tables(prefix: str, methods: Iterable[Method]) -> tuple[LabelTable, ...]:
    """One table for all methods where they tell the same classes, else one for each."""
    told = [(m, m.labels) for m in methods if m.kind in {CLASS, CLASSES}]
    if not told:
        return ()
    if all(labels == told[0][1] for _, labels in told):
        return (_table(f"{prefix}_label", told[0][1]),)
    return tuple(_table(f"{prefix}_{m.name}_label", labels) for m, labels in told)


def _table(function: str, labels: tuple[Labels, ...]) -> LabelTable:
    flat = [label for answer in labels for label in answer]
    if any(isinstance(label, str) for label in flat):
        return LabelTable(function, "const char *", labels)
    whole = all(float(label).is_integer() and abs(float(label)) < 1 << 31 for label in flat)
    return LabelTable(function, "long" if whole else "double", labels)


def label_of(prefix: str, method: Method, tables: Iterable[LabelTable]) -> LabelTable:
    """The table of a method that tells classes."""
    return next(t for t in tables if t.function in {f"{prefix}_label", f"{prefix}_{method.name}_label"})


def header(source: Source, tables: tuple[LabelTable, ...], code: str) -> str:
    """The header file.

    Args:
        source: The program's C.
        tables: Of class names.
        code: The whole source file, whose tables are counted.
    """
    prefix = source.settings.prefix
    upper = prefix.upper()
    taken = {f"{upper}_{word}" for word in ("H", "FEATURES", "CLASSES")}
    taken |= {f"{upper}_{m.name.upper()}_{word}" for m in source.methods for word in ("SIZE", "CLASSES")}
    defines = [f"#define {upper}_FEATURES {len(source.program.features)}"]
    defines += _sizes(source, tables, upper)
    enum = _classes(tables, upper, taken)
    codes = _codes(source.program.features, upper, taken)
    lines = [f"#ifndef {upper}_H", f"#define {upper}_H", "", _about(source, code), "#include <stddef.h>", "", *defines]
    lines += ([""] if enum or codes else []) + enum + codes
    lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    if source.inputs.row:
        lines += [f"typedef {source.inputs.ctype} {prefix}_input;", ""]
    for method in source.methods:
        lines += _declared(source, method)
    for each in tables:
        numbered = "a class" if len(each.labels) == 1 else "a class of an output"
        what = "name" if each.ctype == "const char *" else "number"
        lines += [f"/* The {what} of {numbered}; 0 where there is none of that place. */", f"{each.signature};", ""]
    lines += ["#ifdef __cplusplus", "}", "#endif", "#endif", ""]
    return "\n".join(lines)


def _about(source: Source, code: str) -> str:
    program, inputs = source.program, source.inputs
    lines = [comment(program.title or "A model") + ", as plain C99 by edgekit.", ""]
    if inputs.row:
        lines.append(f"x: {len(program.features)} numbers of type {inputs.ctype}, in this order:")
    else:
        lines.append("Takes text, in this order:")
    lines += [f"    {place}  {_feature(feature)}" for place, feature in enumerate(program.features)]
    if inputs.texts:
        lines += ["", "A text is UTF-8 up to its zero byte. A byte that is no UTF-8 counts as U+FFFD."]
        if inputs.row:
            lines.append("Texts have places in x too, which are not looked at.")
    if any(isinstance(s, ir.Words) for s in program.steps):
        lines.append("Words, small letters and white space are those of Python's str and re, for all of Unicode.")
    exact = [m.name for m in source.methods if m.name in program.exact]
    if inputs.narrowed:
        lines += [
            "",
            "The source looks at float64 numbers: one that float rounds may cross a threshold of the source's.",
        ]
    elif source.error:
        lines += ["", f"Sums of trees differ from the source's by {source.error:.2g} at most."]
    elif exact:
        lines += ["", f"Equal to the source to the last bit: {', '.join(exact)}."]
    stack = max(source.stack.values(), default=0)
    libm = f"Of libm: {', '.join(source.libm)}." if source.libm else "Needs no libm."
    lines += [
        "",
        "Functions allocate nothing, keep nothing between calls and may run at the same time.",
        f"Memory: no static memory; numbers take {stack} bytes of stack. Constant tables: {table_bytes(code)} bytes.",
        libm,
    ]
    return "/*\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + " */"


def _feature(feature: ir.Feature) -> str:
    text = f"{comment(feature.name)}: {feature.kind}"
    if feature.categories:
        shown = ", ".join(f"{i} = {comment(str(c), 40)}" for i, c in enumerate(feature.categories[:20]))
        more = f", ... {len(feature.categories)} in all" if len(feature.categories) > 20 else ""
        text += f" ({shown}{more}; -1 = any other)"
    return text + (", NaN where it is missing" if feature.missing else "")


def _sizes(source: Source, tables: tuple[LabelTable, ...], upper: str) -> list[str]:
    """Macros of how many numbers a method writes and how many classes there are."""
    found = []
    if len(tables) == 1 and len(tables[0].labels) == 1:
        found.append(f"#define {upper}_CLASSES {len(tables[0].labels[0])}")
    for method in source.methods:
        if not method.scalar:
            found.append(f"#define {upper}_{method.name.upper()}_SIZE {method.size}")
        if method.kind == CLASS and len(tables) > 1:
            found.append(f"#define {upper}_{method.name.upper()}_CLASSES {len(method.labels[0])}")
    return found


def _classes(tables: tuple[LabelTable, ...], upper: str, taken: set[str]) -> list[str]:
    if len(tables) != 1 or len(tables[0].labels) != 1:
        return []
    names = [identifier(str(label), taken, f"{upper}_CLASS") for label in tables[0].labels[0]]
    items = ",\n".join(f"    {name} = {place}" for place, name in enumerate(names))
    return [f"enum {{\n{items}\n}};", ""]


def _codes(features: Iterable[ir.Feature], upper: str, taken: set[str]) -> list[str]:
    """Macros of the codes of text categories."""
    lines = []
    for feature in features:
        if not any(isinstance(c, str) for c in feature.categories):
            continue
        stem = identifier(feature.name, taken, upper)
        taken.discard(stem)
        lines.append(f"/* Codes of {comment(feature.name)}. */")
        for code, category in enumerate(feature.categories):
            lines.append(f"#define {identifier(str(category), taken, stem)} {code} /* {comment(str(category), 60)} */")
    return lines


def _declared(source: Source, method: Method) -> list[str]:
    prefix = source.settings.prefix
    name, one = f"{prefix}_{method.name}", source.inputs.parameters(prefix)
    many = source.inputs.parameters(prefix, rows=True)
    if method.kind == CLASS:
        about = f"{method.name}: the place of a class among {len(method.labels[0])}."
    elif method.kind == CLASSES:
        about = f"{method.name}: for each of {method.size} outputs, the place of its class."
    elif method.scalar:
        about = f"{method.name}: one number."
    else:
        widths = [a.register.width for a in method.answers]
        parts = f": {' + '.join(str(w) for w in widths)}, one output after the other" if len(widths) > 1 else ""
        about = f"{method.name}: {method.size} numbers{parts}."
    about += f" {source.stack[method.name]} bytes of stack."
    returned = f"{method.ctype} {name}({one});" if method.scalar else f"void {name}({one}, {method.target(prefix)});"
    rows = "one answer a row" if method.scalar else "the answers of one row after those of the other"
    if source.rows_stack[method.name] != source.stack[method.name]:
        rows += f"; {source.rows_stack[method.name]} bytes of stack"
    return [
        f"/* {about} */",
        returned,
        f"/* The same for many rows: {rows}. */",
        f"void {name}_rows({many}, {method.ctype} *out);",
        "",
    ]
