"""Files round the model: an example program, a CMake project, and on request an Arduino library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit_converters.errors import UsageError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.c.header import LabelTable, label_of
from edgekit_converters.plaincode.emitters.c.literals import comment, number, string
from edgekit_converters.plaincode.emitters.c.program import Source
from edgekit_converters.plaincode.emitters.c.shape import CLASS, CLASSES, Inputs, Method


def example_main(source: Source, tables: Sequence[LabelTable], row: Sequence[Any] = ()) -> str:
    """A program that prints every method's answer for one row.

    Args:
        source: The program's C.
        tables: Of class names.
        row: One value a feature, in order; zeros and empty texts by default.

    Raises:
        UsageError: The row has another number of values than the model has features.
    """
    prefix = source.settings.prefix
    given = _given(source.program, source.inputs, row)
    calls = "\n".join(_printed(source, m, tables) for m in source.methods)
    return f"""\
/* Prints what {comment(source.program.title or "the model")} says about one row. */
#include <stdio.h>

#include "{prefix}.h"

int main(void)
{{
{given.replace("@PREFIX@", prefix)}
{calls}
    return 0;
}}
"""


def _given(program: ir.Program, inputs: Inputs, row: Sequence[Any]) -> str:
    if row and len(row) != len(program.features):
        raise UsageError(
            f"the example row has {len(row)} values, but the model takes {len(program.features)}", "give one a feature"
        )
    values = list(row) or ["" if f.kind == ir.TEXT else 0.0 for f in program.features]
    lines = []
    if inputs.row:
        items = "\n".join(
            f"        {_number(0.0 if i in inputs.texts else v, inputs.ctype)}, /* {comment(f.name, 60)} */"
            for i, (v, f) in enumerate(zip(values, program.features, strict=True))
        )
        lines.append(f"    static const @PREFIX@_input x[] = {{\n{items}\n    }};")
    texts = [string(str(values[i])) for i in inputs.texts]
    if len(texts) == 1:
        lines.append(f"    const char *text = {texts[0]};")
    elif texts:
        lines.append(f"    static const char *const text[] = {{{', '.join(texts)}}};")
    return "\n".join(lines)


def _number(value: Any, ctype: str) -> str:
    """A number without the names of math.h, which the example does not include."""
    mark = "f" if ctype == "float" else ""
    zero, one = f"0.0{mark}", f"1.0{mark}"
    special = {"NAN": f"({zero} / {zero})", "INFINITY": f"({one} / {zero})", "-INFINITY": f"(-{one} / {zero})"}
    text = number(value, ctype)
    return special.get(text, text)


def _arguments(inputs: Inputs) -> str:
    return ", ".join((["x"] if inputs.row else []) + (["text"] if inputs.texts else []))


def _printed(source: Source, method: Method, tables: Sequence[LabelTable]) -> str:
    prefix, arguments = source.settings.prefix, _arguments(source.inputs)
    call = f"{prefix}_{method.name}"
    if method.kind in {CLASS, CLASSES}:
        table = label_of(prefix, method, tables)
        mark = {"const char *": "%s", "long": "%ld", "double": "%.17g"}[table.ctype]
        if method.kind == CLASS:
            return f'    printf("{method.name}: {mark}\\n", {table.function}({call}({arguments})));'
        shown = f"{table.function}(i, out[i])" if len(table.labels) > 1 else f"{table.function}(out[i])"
    elif method.scalar:
        return f'    printf("{method.name}: %.17g\\n", {call}({arguments}));'
    else:
        mark, shown = "%.17g", "out[i]"
    size = f"{prefix.upper()}_{method.name.upper()}_SIZE"
    return f"""\
    {{
        {method.ctype} out[{size}];
        int i;
        {call}({arguments}, out);
        printf("{method.name}:");
        for (i = 0; i < {size}; i++) printf(" {mark}", {shown});
        printf("\\n");
    }}"""


def cmake(source: Source) -> str:
    """``CMakeLists.txt`` of a library and the example."""
    prefix = source.settings.prefix
    libm = f"if(UNIX)\n  target_link_libraries({prefix} PUBLIC m)\nendif()\n" if source.libm else ""
    return f"""\
cmake_minimum_required(VERSION 3.13)
project({prefix} C)

add_library({prefix} STATIC {prefix}.c)
target_include_directories({prefix} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
set_target_properties({prefix} PROPERTIES C_STANDARD 99 C_EXTENSIONS OFF)
# The source turns fused multiply-add off by itself in GCC and Clang; said here for other compilers and readers.
if(MSVC)
  target_compile_options({prefix} PRIVATE /fp:precise)
else()
  target_compile_options({prefix} PRIVATE -ffp-contract=off)
endif()
{libm}
add_executable({prefix}_example example_main.c)
target_link_libraries({prefix}_example PRIVATE {prefix})
"""


def arduino_library(files: Mapping[str, str], prefix: str, version: str = "1.0.0") -> dict[str, str]:
    """The emitted files laid out as an Arduino library.

    Args:
        files: What the emitter gave.
        prefix: What it was emitted with.
        version: Of the library: three numbers.

    Returns:
        File name to content: ``library.properties``, ``src/``, and a sketch that prints the example's answers.
    """
    title = next(
        (line[3:] for line in files[f"{prefix}.h"].splitlines() if line.startswith(" * ") and line[3:].strip()),
        "A model",
    )
    properties = {
        "name": prefix, "version": version, "author": "edgekit", "maintainer": "edgekit", "sentence": title,
        "paragraph": "A trained model as plain C: no allocation, nothing else needed.", "category": "Data Processing",
        "url": "https://github.com/edgekit/edgekit", "architectures": "*", "includes": f"{prefix}.h",
    }  # fmt: skip
    main = files["example_main.c"]
    body = main[main.index("int main(void)") :].replace("int main(void)", "static int answers()")
    sketch = (
        f"#include <stdio.h>\n#include <{prefix}.h>\n\n"
        "static void print(const char *text) { Serial.print(text); }\n"
        "template <typename... Values> static void print(const char *format, Values... values) {\n"
        "  char line[160];\n  snprintf(line, sizeof line, format, values...);\n  Serial.print(line);\n}\n\n"
        f"{body.replace('printf(', 'print(')}\n"
        "void setup() { Serial.begin(115200); }\n\nvoid loop() {\n  answers();\n  delay(1000);\n}\n"
    )
    return {
        "library.properties": "".join(f"{k}={v}\n" for k, v in properties.items()),
        f"src/{prefix}.h": files[f"{prefix}.h"],
        f"src/{prefix}.c": files[f"{prefix}.c"],
        f"examples/{prefix}_example/{prefix}_example.ino": sketch,
    }
