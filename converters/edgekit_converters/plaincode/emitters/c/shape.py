"""What the C functions of a program look like from outside: the row's type, and each method's answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitter import EmitSettings

CLASS, CLASSES, NUMBER, VECTOR = "class", "classes", "number", "vector"
LONGEST_LABEL = 1000
_RESERVED = re.compile(
    r"s\d+(_.*)?|input|(.*_)?(label|table|rows|rest)|decode|encode|cursor|raw|lower.*|small|hash.*|scrambled|start"
    r"|match.*|narrowed|below\d+|is_.*|(word|space|cased|ignorable)_.*"
)
"""What names inside the code end in."""


@dataclass(frozen=True)
class Method:
    """One public function.

    Attributes:
        name: As the source calls it.
        kind: ``class`` (returns a place among labels), ``classes`` (several of them), ``number`` or ``vector``.
        answers: Of the program.
        size: How many numbers a vector has, or how many classes are told.
    """

    name: str
    kind: str
    answers: tuple[ir.Answer, ...]
    size: int

    @property
    def ctype(self) -> str:
        """Type of its numbers."""
        return "int" if self.kind in {CLASS, CLASSES} else "double"

    @property
    def scalar(self) -> bool:
        """Whether it returns its answer instead of writing it."""
        return self.kind in {CLASS, NUMBER}

    def target(self, prefix: str) -> str:
        """The C parameter that its answer is written to."""
        return f"{self.ctype} out[{prefix.upper()}_{self.name.upper()}_SIZE]"

    @property
    def labels(self) -> tuple[tuple[str | float | int, ...], ...]:
        """Labels of each answer."""
        return tuple(a.labels for a in self.answers)


@dataclass(frozen=True)
class Inputs:
    """What a caller hands over.

    Attributes:
        row: Whether there are numbers (or category codes).
        texts: Places of the text features, in order.
        ctype: Type of the row's numbers.
        narrowed: Whether the source sees more of the numbers than that type holds.
    """

    row: bool
    texts: tuple[int, ...]
    ctype: str
    narrowed: bool = False

    def parameters(self, prefix: str, *, rows: bool = False) -> str:
        """The C parameters: of one row, or of many."""
        found = [f"const {prefix}_input *x"] if self.row else []
        if self.texts:
            found.append("const char *text" if len(self.texts) == 1 and not rows else "const char *const *text")
        return ", ".join([*found, "size_t rows"] if rows else found)

    def arguments(self, row: str, features: int) -> str:
        """What a loop over rows hands to the function of one row; `row` is the C name of the row's number."""
        found = [f"x + {row} * {features}"] if self.row else []
        if self.texts:
            found.append(f"text[{row}]" if len(self.texts) == 1 else f"text + {row} * {len(self.texts)}")
        return ", ".join(found)


def methods_of(program: ir.Program, wanted: Sequence[str] = ()) -> tuple[Method, ...]:
    """The public functions of a program.

    Raises:
        ConversionError: A wanted method is not there, or its name or a label cannot be said in C.
    """
    for name in wanted:
        if name not in program.methods:
            raise ConversionError(f"the model has no method {name!r:.40}", f"it has {', '.join(program.methods)}")
    return tuple(_method(name, program.methods[name]) for name in (wanted or program.methods))


def _method(name: str, answers: tuple[ir.Answer, ...]) -> Method:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,60}", name) or _RESERVED.fullmatch(name):
        raise ConversionError(f"a method named {name!r:.60} cannot be a function in C", "rename it")
    labelled = [bool(a.labels) for a in answers]
    for answer in answers:
        for label in answer.labels:
            if isinstance(label, str) and ("\0" in label or len(label.encode("utf-8", "replace")) > LONGEST_LABEL):
                raise ConversionError(
                    f"the class name {label!r:.60} holds a zero byte or over {LONGEST_LABEL} bytes", "rename the class"
                )
    if all(labelled):
        return Method(name, CLASS if len(answers) == 1 else CLASSES, answers, len(answers))
    if any(labelled):
        raise ConversionError(f"the answers of {name} are classes and numbers in one", "choose the methods to write")
    size = sum(a.register.width for a in answers)
    return Method(name, NUMBER if size == 1 else VECTOR, answers, size)


def inputs_of(program: ir.Program, settings: EmitSettings) -> Inputs:
    """What a caller hands over: a ``float`` row where the source rounds every number to float32 first."""
    texts = tuple(i for i, f in enumerate(program.features) if f.kind == ir.TEXT)
    rounds = _rounds(program, settings.methods)
    ctype = settings.input
    if ctype == "auto":
        ctype = "float" if rounds else "double"
    return Inputs(len(texts) < len(program.features), texts, ctype, ctype == "float" and not rounds)


_BY_VALUE = (ir.Encode, ir.Replace, ir.KnownOnly)


def _rounds(program: ir.Program, methods: Sequence[str]) -> bool:
    """Whether no step sees more of the row than its float32 numbers.

    Codes of categories are small whole numbers, which float32 holds; tests for NaN are the same after rounding.
    """
    raw: dict[int, tuple[int | None, ...]] = {0: tuple(range(len(program.features)))}
    for index in program.needed(methods):
        step = program.steps[index]
        if isinstance(step, ir.Words) or not any(r.index in raw for r in step.sources):
            continue
        if isinstance(step, ir.Select) and step.source.index in raw:
            raw[index + 1] = tuple(raw[step.source.index][c] for c in step.columns)
        elif isinstance(step, ir.Concat):
            raw[index + 1] = tuple(c for p in step.parts for c in raw.get(p.index, (None,) * p.width))
        elif isinstance(step, ir.Impute) and step.missing != step.missing:
            raw[index + 1] = raw[step.source.index]
        elif isinstance(step, _BY_VALUE):
            place = raw[step.source.index][step.column]
            if place is not None and program.features[place].kind != ir.CATEGORY:
                return False
            if isinstance(step, ir.KnownOnly):
                raw[index + 1] = raw[step.source.index]
        elif not (
            isinstance(step, ir.Round32)
            or (isinstance(step, ir.IsMissing) and step.missing != step.missing)
            or (isinstance(step, ir.Trees) and step.single_key)
            or (isinstance(step, (ir.Affine, ir.Apply, ir.Arithmetic, ir.Softmax)) and step.single)
        ):
            return False
    answers = [a.register.index for m in (methods or program.methods) for a in program.methods[m]]
    return not any(a in raw for a in answers)
