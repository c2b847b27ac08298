"""Java, JavaScript, Go, Rust, C#, PHP and Dart, written by m2cgen's interpreters from expressions that are built here.

m2cgen reads estimators itself, but not those of today, and without scikit-learn's rounding to float32; here it only
writes what a `Program` says. One file each, which needs nothing but the language's standard library.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError, MissingRequirement, UsageError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitter import EmitSettings, Emitter
from edgekit_converters.plaincode.emitters.m2cgen.csharp import CSharp
from edgekit_converters.plaincode.emitters.m2cgen.dart import Dart
from edgekit_converters.plaincode.emitters.m2cgen.dialect import Dialect, kind_of
from edgekit_converters.plaincode.emitters.m2cgen.go import Go
from edgekit_converters.plaincode.emitters.m2cgen.java import Java
from edgekit_converters.plaincode.emitters.m2cgen.javascript import JavaScript
from edgekit_converters.plaincode.emitters.m2cgen.names import pascal
from edgekit_converters.plaincode.emitters.m2cgen.php import Php
from edgekit_converters.plaincode.emitters.m2cgen.rust import Rust

_DEEPEST = 20_000
_INTERNAL = re.compile(r"_?r\d+.*|apply.*|square|larger|smaller|joined|single|row|total|leaf|var\d+", re.IGNORECASE)


class Language(Emitter):
    """One file: a public function for each method, from a row to its answer."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.name, self.title = dialect.name, dialect.title  # type: ignore[misc] # one object a language, one class

    def refuses(self, program: ir.Program) -> str:
        steps = _part("steps")
        for index in program.needed():
            step = program.steps[index]
            if not steps.writes(step):
                return f"there is no {self.title} for the step {step.name}"
            if isinstance(step, ir.Trees) and (depth := _depth(step)) > _DEEPEST:
                return f"a tree is {depth} questions deep, and functions in {self.title} call each other not so deeply"
        if any(f.kind == ir.TEXT for f in program.features):
            return f"there is no {self.title} for a text"
        return ""

    def emit(self, program: ir.Program, settings: EmitSettings) -> Mapping[str, str]:
        if reason := self.refuses(program):
            raise ConversionError(reason, "choose another export format")
        self._check(program, settings)
        text = _part("program").module_of(program, settings, self.dialect)
        return {self.dialect.file(settings.prefix): text}

    def _check(self, program: ir.Program, settings: EmitSettings) -> None:
        """Raises where settings or names cannot be said."""
        dialect = self.dialect
        if settings.leaves != "exact" or settings.input == "float" or settings.layout == "size":
            raise UsageError(
                f"{self.title} code has exact leaves, rows of float64 and trees as branches",
                "leave leaves, input and layout as they are",
            )
        forms = {settings.prefix, settings.prefix.lower(), pascal(settings.prefix)}
        if forms & dialect.reserved or re.fullmatch(r"part\d+|joined", settings.prefix, re.IGNORECASE):
            raise UsageError(f"the prefix {settings.prefix} is a word of {self.title}", "choose another")
        taken: dict[str, str] = {}
        for method in settings.methods or program.methods:
            if method not in program.methods:
                raise ConversionError(f"the model has no method {method!r:.40}", f"it has {', '.join(program.methods)}")
            name = dialect.method(method)
            plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,60}", method) and not _INTERNAL.fullmatch(name)
            if not plain or {name, name.lower()} & dialect.reserved or name.lower() == settings.prefix.lower():
                raise ConversionError(f"{method!r:.60} cannot name a method in {self.title}", "rename it")
            if name.lower() in taken:
                raise ConversionError(f"{method} and {taken[name.lower()]} are one name in {self.title}", "rename one")
            taken[name.lower()] = method
            if not kind_of(program.methods[method]):
                raise ConversionError(f"the answers of {method} are classes and numbers in one", "choose the methods")
            for label in (v for answer in program.methods[method] for v in answer.labels):
                if isinstance(label, str) and any("\ud800" <= c <= "\udfff" for c in label):
                    raise ConversionError(f"the class name {label!a:.60} is not text", "rename the class")


def _part(name: str) -> Any:
    """A module of this package that needs m2cgen.

    Raises:
        MissingRequirement: It is not installed.
    """
    try:
        return importlib.import_module(f"edgekit_converters.plaincode.emitters.m2cgen.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "m2cgen":
            raise
        raise MissingRequirement("m2cgen is not installed", 'pip install "edgekit[trees]"') from None


def _depth(step: ir.Trees) -> int:
    """Questions on the longest way through a tree."""
    level = step.roots[step.roots >= 0]
    depth = 0
    while len(level):
        depth += 1
        level = np.concatenate([step.left[level], step.right[level]])
        level = level[level >= 0]
    return depth


JAVA, JAVASCRIPT, GO, RUST = Language(Java()), Language(JavaScript()), Language(Go()), Language(Rust())
CSHARP, PHP, DART = Language(CSharp()), Language(Php()), Language(Dart())
