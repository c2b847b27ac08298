"""The chosen variant compiled for a target's accelerator, beside its CPU twin, which runs on this workstation."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.result import VariantResult
from edgekit.targets import Target
from edgekit_converters.placement import Placement
from edgekit_converters.recipe import Converted
from edgekit_runtime.backends import Backend, accelerator_of, choose
from edgekit_runtime.errors import MissingRequirement


def require_compiler(target: Target) -> None:
    """Do nothing where the target's compiler is on PATH.

    Raises:
        MissingRequirement: It is not, or the target has none.
    """
    compiler = target.compiler
    if compiler is None:
        raise MissingRequirement(f"nothing is compiled for {target.name}", "leave --require-compiled out")
    if shutil.which(compiler.program) is None:
        raise MissingRequirement(
            f"{compiler.program} is not on PATH, so that nothing can be compiled for {target.name}",
            f"install it, or leave --require-compiled out and compile later: {compiler.command('MODEL.tflite')}",
        )


def compiled(
    target: Target, result: VariantResult, twin: Converted, folder: Path
) -> tuple[VariantResult, Converted, Placement] | None:
    """The compiled form of a variant; None where the target has no compiler or it is not here.

    Its accuracy is its twin's, and said to be so: there is no accelerator here to measure on.

    Args:
        target: The device.
        result: The variant for the CPU.
        twin: Its file.
        folder: Where the compiled file goes.

    Raises:
        ConversionError: The compiler refused it.
    """
    compiler = target.compiler
    if compiler is None or shutil.which(compiler.program) is None:
        return None
    path = folder / f"{twin.name}-{compiler.suffix}{twin.path.suffix}"
    placement = compiler.compile(twin.path, path)
    version = next((n for n in placement.notes if n.startswith("Compiled with")), "")
    variant = replace(
        result.variant,
        name=f"{twin.name}-{compiler.suffix}",
        file=f"models/{path.name}",
        backends=(compiler.backend,),
        measured_with=result.variant.measured_with and f"{result.variant.measured_with}, of its CPU twin",
    )
    tools = {**twin.tools, compiler.program: version.removeprefix("Compiled with ").rstrip(".") or "unknown"}
    model = replace(twin, path=path, tools=tools, compiled=compiler.suffix)
    return replace(result, variant=variant, bytes=path.stat().st_size), model, placement


def workstation_backend(names: Sequence[str]) -> Backend:
    """The back end that runs a variant here: never an accelerator, whose engine would be this machine's own.

    Raises:
        MissingRequirement: None of them is installed; names the extra.
    """
    return choose([name for name in names if not accelerator_of([name])] or list(names))
