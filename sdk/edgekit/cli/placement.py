"""`edgekit placement`: every operator with where it will run, and why not on the accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit_runtime.errors import ContractBroken, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit_converters.placement import OpPlacement, Placement


def placement_command(
    model: Annotated[Path, typer.Argument(help=".tflite, .onnx, _edgetpu.tflite or a .edgekit bundle")],
    target: Annotated[str | None, typer.Option("--target", "-t", help="device; a bundle's own by default")] = None,
    min_offload: Annotated[
        float | None, typer.Option(help="least share of operators on the accelerator, 0.95 = 95 %; else exit 3")
    ] = None,
    require_accelerator: Annotated[
        bool, typer.Option("--require-accelerator", help="every operator must be on the accelerator; else exit 3")
    ] = False,
    require_compiled: Annotated[
        bool, typer.Option("--require-compiled", help="coral: a prediction will not do; exit 4 without the compiler")
    ] = False,
    source: Annotated[Path | None, typer.Option(help="coral: the file that an _edgetpu.tflite was made from")] = None,
    tensorrt: Annotated[
        str | None, typer.Option(help="jetson: TensorRT version of the operator table: 8.5, 8.6, 10.3 or 10.15")
    ] = None,
    jetpack: Annotated[str | None, typer.Option(help="jetson: JetPack instead: 5.1, 6.1, 6.2 or 7.2")] = None,
    variant: Annotated[str | None, typer.Option(help="a bundle's variant; the chosen one by default")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object to standard output")] = False,
) -> None:
    """Show which operators of a finished model run on the device's accelerator, and why others do not."""
    from edgekit.cli.show import console, print_json
    from edgekit.placing import model_file, place
    from edgekit.targets import resolve_target

    if min_offload is not None and not 0 <= min_offload <= 1:
        raise UsageError(f"--min-offload {min_offload:g} is not a share", "give 0.95 for 95 %")
    out = console(json)
    with model_file(model, variant) as file:
        if not (target or file.target):
            raise UsageError("placement of a model file needs a target", f"edgekit placement {model} --target coral")
        resolved = resolve_target(target or file.target)
        if resolved.said:
            out.print(f"[yellow]![/] {resolved.said}", soft_wrap=True)
        found = place(
            file,
            resolved.target,
            source=source,
            tensorrt=tensorrt,
            jetpack=jetpack,
            require_compiled=require_compiled,
        )
    if json:
        print_json(
            {
                "ops": [{"index": o.index, "op": o.op, "unit": o.unit, "reason": o.reason} for o in found.ops],
                "offload": found.offload,
                "unit": found.unit,
                "origin": found.origin,
                "bytes": dict(found.bytes),
                "notes": list(found.notes),
            }
        )
    else:
        _print(out, found)
    if why := found.broken(min_offload, require_accelerator):
        raise ContractBroken(why, "the reasons are in the table above; change those operators or the gate")


def _print(out: Console, found: Placement) -> None:
    from rich.markup import escape

    from edgekit.cli.show import kilobytes, table

    groups: dict[tuple[str, str, str], list[OpPlacement]] = {}
    for op in found.ops:
        groups.setdefault((op.op, op.unit, op.reason), []).append(op)
    rows = [
        [_numbers([o.index for o in ops]), escape(kind), str(len(ops)), unit, escape(reason)]
        for (kind, unit, reason), ops in groups.items()
    ]
    columns = [("number", "left"), ("operator", "left"), ("count", "right"), ("runs on", "left"), ("why not", "left")]
    table(out, columns, rows)
    out.print(f"placement  {found.in_words()}, offload {found.offload:.1%}", markup=False, soft_wrap=True)
    if found.bytes:
        held, flowing = kilobytes(found.bytes["cached"]), kilobytes(found.bytes["streamed"])
        out.print(f"parameters {held} KB cached on the chip, {flowing} KB streamed at every inference", soft_wrap=True)
    for note in found.notes:
        out.print(f"[yellow]![/] {escape(note)}", soft_wrap=True)


def _numbers(indices: list[int], most: int = 3) -> str:
    """``0-4, 7, ...``: the first few runs of positions."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    said = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:most]]
    return ", ".join([*said, *(["..."] if len(runs) > most else [])])
