"""A classic model's C code with its builds: what a bundle carries."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit_converters.errors import MissingRequirement
from edgekit_converters.limits import TargetLimits
from edgekit_converters.plaincode.compiler import (
    architecture,
    available,
    compile_library,
    compile_object,
    object_size,
)
from edgekit_converters.plaincode.emitter import emitter
from edgekit_converters.plaincode.ir import Trees
from edgekit_converters.plaincode.library import input_dtype, library_code
from edgekit_converters.recipe import Converted
from edgekit_runtime.manifest import Binding
from edgekit_runtime.native import machine

if TYPE_CHECKING:
    from edgekit_converters.sources.classic import ClassicSource

LIBRARY = "edgekit_library.c"
PRECISIONS = {"exact": "fp64", "float": "fp32", "fixed": "int32"}
"""What leaves are summed in, as a precision."""
_MACHINES = {"aarch64": "aarch64", "armhf": "armv7l"}
_COMPILERS = 2  # at once: more of them need more memory than small machines have


def write_code(source: ClassicSource, folder: Path, limits: TargetLimits) -> Converted:
    """Write a model as C and compile it for this machine, the target's machines, and others whose compiler is here.

    Raises:
        ConversionError: A part of the model has no plain code, or a compiler refuses the code.
        MissingRequirement: The compiler of this machine or of one of the target's is not installed.
    """
    settings = limits.code
    settings = replace(settings, methods=tuple(settings.methods) or tuple(source.program.methods))
    code = folder / "c"
    code.mkdir(exist_ok=True)
    files = dict(emitter("c").emit(source.program, settings))
    taken = source.inputs[0]
    files[LIBRARY] = library_code(source.program, settings, source.method, taken, source.outputs, LIBRARY)
    for name, content in files.items():
        (code / name).write_text(content, "utf-8")
    model = code / f"{settings.prefix}.c"
    builds, sizes = _build((model, code / LIBRARY), folder / "builds", limits)
    dtype = input_dtype(source.program, settings)
    return Converted(
        model,
        "c",
        PRECISIONS[settings.leaves if any(source.program.of_kind(Trees)) else "exact"],
        (Binding(taken.name, taken.name, taken.shape, dtype),),
        tuple(Binding(o.name, o.name, o.shape, "float64") for o in source.outputs),
        recipe=({"emit": "c", "prefix": settings.prefix, "layout": settings.layout, "leaves": settings.leaves},),
        beside=tuple(code / name for name in sorted(files) if code / name != model),
        builds=builds,
        sizes=sizes,
    )


def _build(
    sources: tuple[Path, ...], folder: Path, limits: TargetLimits
) -> tuple[Mapping[str, Path], Mapping[str, int]]:
    """Machine to library, and machine to bytes of code and tables."""
    here = machine()
    names = {"host": here} | {a: m for a, m in _MACHINES.items() if m != here and a in available()}
    for wanted in limits.machines:
        if wanted not in names.values():
            name = next((a for a, m in _MACHINES.items() if m == wanted), wanted)
            architecture(name).compiler()  # raises with what to install
            names[name] = wanted
    if "host" not in available():
        raise MissingRequirement("there is no C compiler on this machine, which proves the code", "apt install gcc")

    def build(name: str) -> tuple[Path | None, int]:
        if not architecture(name).hosted:
            return None, object_size(compile_object(sources[0], folder, name), name).flash
        library = compile_library(sources, folder, name)
        return library, object_size(library, name).flash

    with ThreadPoolExecutor(_COMPILERS) as pool:
        made = dict(zip(names, pool.map(build, names), strict=True))
    order = sorted(made, key=lambda n: names[n] not in limits.machines)
    return (
        {names[n]: library for n, (library, _) in made.items() if library is not None},
        {names[n]: made[n][1] for n in order},
    )
