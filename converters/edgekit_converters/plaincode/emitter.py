"""From programs to source code: what an output language must offer, and where each one is found."""

from __future__ import annotations

import difflib
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, ClassVar

from edgekit_converters.errors import UsageError

if TYPE_CHECKING:  # the command line reads settings long before it needs numpy
    from edgekit_converters.plaincode.ir import Program

EMITTERS = {
    "c": "edgekit_converters.plaincode.emitters.c:EMITTER",
    "python": "edgekit_converters.plaincode.emitters.python:EMITTER",
    "java": "edgekit_converters.plaincode.emitters.m2cgen:JAVA",
    "javascript": "edgekit_converters.plaincode.emitters.m2cgen:JAVASCRIPT",
    "go": "edgekit_converters.plaincode.emitters.m2cgen:GO",
    "rust": "edgekit_converters.plaincode.emitters.m2cgen:RUST",
    "csharp": "edgekit_converters.plaincode.emitters.m2cgen:CSHARP",
    "php": "edgekit_converters.plaincode.emitters.m2cgen:PHP",
    "dart": "edgekit_converters.plaincode.emitters.m2cgen:DART",
}
LAYOUTS = ("auto", "speed", "size")
LEAVES = ("exact", "float", "fixed")


@dataclass(frozen=True)
class EmitSettings:
    """How code is written.

    Attributes:
        prefix: Of every public name, so that two models link together.
        layout: Of trees: ``speed`` (branches), ``size`` (a table and one loop) or ``auto``.
        leaves: ``exact`` (float64), ``float`` (float32) or ``fixed`` (whole-number sums).
        input: Type of the row: ``float``, ``double``, or ``auto`` for ``float`` where the source rounds to it anyway.
        methods: Methods to write, all by default.
        in_order: Whether the processor executes one instruction after the other (microcontrollers): fewest
            instructions are then fastest, and ``auto`` minds the flash.
        example: The row that the example program asks about, one value a feature; zeros by default.
    """

    prefix: str = "model"
    layout: str = "auto"
    leaves: str = "exact"
    input: str = "auto"
    methods: tuple[str, ...] = ()
    in_order: bool = False
    example: tuple[float | str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", self.prefix):
            raise UsageError(f"--prefix {self.prefix!r:.60} cannot begin a name in C", "use letters, digits and _")
        for name, value, allowed in (
            ("layout", self.layout, LAYOUTS),
            ("leaves", self.leaves, LEAVES),
            ("input", self.input, ("auto", "float", "double")),
        ):
            if value not in allowed:
                raise UsageError(f"there is no {name} {value!r:.40}", f"there are {', '.join(allowed)}")


class Emitter(ABC):
    """One output language.

    Attributes:
        name: What people type.
        title: What it is called in print.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def refuses(self, program: Program) -> str:
        """Why the language cannot say a program, in words; empty where it can."""

    @abstractmethod
    def emit(self, program: Program, settings: EmitSettings) -> Mapping[str, str]:
        """File name to content.

        Raises:
            ConversionError: `refuses` says why.
        """


def emitter(name: str) -> Emitter:
    """The emitter of a language.

    Raises:
        UsageError: There is none; names the closest.
    """
    table = dict(EMITTERS)
    table.update({e.name: e.value for e in entry_points(group="edgekit.plaincode.emitters")})
    if name not in table:
        close = difflib.get_close_matches(name, table, 1)
        raise UsageError(
            f"there is no output language {name!r:.40}",
            f"did you mean {close[0]}?" if close else f"there are {', '.join(table)}",
        )
    module, attribute = table[name].split(":")
    found: Emitter = getattr(importlib.import_module(module), attribute)
    return found
