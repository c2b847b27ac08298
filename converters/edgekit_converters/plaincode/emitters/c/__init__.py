"""C99 with nothing but a row in and answers out: no allocation, no state, libm only where a formula needs it."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitter import EmitSettings, Emitter
from edgekit_converters.plaincode.emitters.c import steps
from edgekit_converters.plaincode.emitters.c.artefact import arduino_library, cmake, example_main
from edgekit_converters.plaincode.emitters.c.header import header, label_tables
from edgekit_converters.plaincode.emitters.c.program import source_of

__all__ = ["EMITTER", "C", "arduino_library"]


class C(Emitter):
    """``PREFIX.h``, ``PREFIX.c``, ``example_main.c`` and ``CMakeLists.txt``."""

    name = "c"
    title = "C99"

    def refuses(self, program: ir.Program) -> str:
        for index in program.needed():
            step = program.steps[index]
            if not (steps.writes(step) or isinstance(step, (ir.Trees, ir.Words))):
                return f"there is no C for the step {step.name}"
        return ""

    def emit(self, program: ir.Program, settings: EmitSettings) -> Mapping[str, str]:
        if reason := self.refuses(program):
            raise ConversionError(reason, "choose another export format")
        if settings.prefix == "example_main":
            raise UsageError("the prefix example_main is the name of the example", "choose another prefix")
        code, source = source_of(program, settings)
        tables = label_tables(settings.prefix, source.methods)
        code = "\n".join([code, *(t.code for t in tables)])
        return {
            f"{settings.prefix}.h": header(source, tables, code),
            f"{settings.prefix}.c": code,
            "example_main.c": example_main(source, tables, settings.example),
            "CMakeLists.txt": cmake(source),
        }


EMITTER = C()
