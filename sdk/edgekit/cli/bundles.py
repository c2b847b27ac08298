"""`edgekit run|eval|benchmark|inspect`: bundles on this workstation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.deploy import Python_, SshOption_, Way, Wheelhouse_, benchmark_there, chosen_there

Bundle_ = Annotated[Path, typer.Argument(help="the .edgekit file")]
Variant_ = Annotated[str | None, typer.Option(help="variant to use; the chosen one by default")]
Backend_ = Annotated[str | None, typer.Option(help="the only back end that will do: litert, tflite, onnx, plain")]
Trust_ = Annotated[bool, typer.Option("--trust", help="let native code in the bundle run")]
Key_ = Annotated[list[str] | None, typer.Option(help="public key: native code it signed may run")]
Json_ = Annotated[bool, typer.Option("--json", help="print one JSON object to standard output")]


def run_command(
    bundle: Bundle_,
    inputs: Annotated[list[str], typer.Argument(help="pictures, wav files, .json rows, .npy arrays, or texts")],
    variant: Variant_ = None,
    backend: Backend_ = None,
    trust: Trust_ = False,
    key: Key_ = None,
    json: Json_ = False,
) -> None:
    """Answer for raw inputs, exactly as the device will."""
    _runtime_cli("predict", bundle, variant, backend, json, inputs, _trust(trust, key))


def benchmark_command(
    bundle: Bundle_,
    seconds: Annotated[float, typer.Option(help="how long to time")] = 3.0,
    host: Annotated[
        str | None, typer.Option(help="time it on this board, as edgekit deploy takes it, instead of here")
    ] = None,
    ssh_option: SshOption_ = None,
    wheelhouse: Wheelhouse_ = None,
    python: Python_ = None,
    threads: Annotated[
        str | None, typer.Option(help="threads of one inference; auto for the fastest of 1, 2, 4 by measurement")
    ] = None,
    variant: Variant_ = None,
    backend: Backend_ = None,
    trust: Trust_ = False,
    key: Key_ = None,
    json: Json_ = False,
) -> None:
    """Latency here or on a board, kept in the sidecar beside the bundle; instructions where it is for a Cortex-M."""
    from edgekit_runtime.errors import UsageError

    if threads is not None and threads != "auto" and not threads.isdecimal():
        raise UsageError(f"--threads {threads!r:.20} is neither a number nor auto")
    options = [f"--seconds={seconds}", *([f"--threads={threads}"] if threads else []), *_trust(trust, key)]
    if host is not None:
        there = [f"--seconds={seconds}", *([f"--threads={threads}"] if threads else [])]
        there += chosen_there(bundle, variant, backend, trust=trust, keys=key)
        benchmark_there(bundle, Way(host, ssh_option or (), wheelhouse, python, backend), there, json)
        return
    if ssh_option or wheelhouse or python:
        raise UsageError("--ssh-option, --wheelhouse and --python are for a board", "name it with --host")
    if _counted(bundle, variant, json):
        return
    _runtime_cli("benchmark", bundle, variant, backend, json, [], options)


def _counted(bundle: Path, variant: str | None, as_json: bool) -> bool:
    """Whether the bundle is for a Cortex-M; then its instructions were counted and printed."""
    from edgekit.cli.show import console, print_json
    from edgekit.instructions import count, processor_of
    from edgekit_runtime import Bundle

    with Bundle.open(bundle) as opened:
        if not processor_of(opened.manifest, variant):
            return False
    found = count(bundle, variant)
    if as_json:
        print_json(vars(found))
        return True
    console(False).print(
        f"{found.variant} on {found.processor}: {found.instructions:,.0f} instructions a prediction "
        f"(instructions, not time; {found.emulator}, mean of {found.rows} golden samples), {found.flash_bytes:,} bytes "
        f"of flash; answers are {found.largest:.2g} off at most",
        markup=False,
        soft_wrap=True,
    )
    return True


def _trust(trust: bool, keys: list[str] | None) -> list[str]:
    return [*(["--trust"] if trust else []), *(f"--key={k}" for k in keys or ())]


def _runtime_cli(
    verb: str,
    bundle: Path,
    variant: str | None,
    backend: str | None,
    as_json: bool,
    inputs: list[str],
    more: list[str] | None = None,
) -> None:
    """The same code as on the device."""
    from edgekit_runtime.cli import main

    options = [f"--variant={variant}"] if variant else []
    options += [f"--backend={backend}"] if backend else []
    options += ["--json"] if as_json else []
    main([verb, *options, *(more or []), "--", str(bundle), *inputs])


def inspect_command(bundle: Bundle_, json: Json_ = False) -> None:
    """Print what a bundle says about itself."""
    from rich.markup import escape

    from edgekit.cli.show import console, kilobytes, table
    from edgekit_runtime import Bundle

    with Bundle.open(bundle) as opened:
        manifest, digest = opened.manifest, opened.digest
    if json:
        sys.stdout.write(manifest.to_json().decode())
        return
    out = console(False)
    out.print(f"[bold]{manifest.name}[/] for {manifest.target} · {manifest.task} · digest {digest[:16]}")
    out.print(f"source  {manifest.source.framework}: {manifest.source.name} ({manifest.source.sha256[:12]})")
    for side, infos in (("input", manifest.inputs), ("output", manifest.outputs)):
        for info in infos:
            out.print(f"{side:<7} {info.name} {info.dtype} {list(info.shape)}", markup=False)
    steps = " → ".join(
        str(s["step"]) for s in (*manifest.specification.input, {"step": "MODEL"}, *manifest.specification.output)
    )
    out.print(f"spec    {manifest.specification.kind}: {steps}", markup=False)
    rows = [
        [
            v.name + (" ←" if v.name == manifest.chosen else ""),
            kilobytes(manifest.files[v.file].bytes),
            ", ".join(f"{k} {x:.4f}" for k, x in list(v.metrics.items())[:3]) or "not measured",
            v.measured_with or "-",
            ", ".join(v.backends),
        ]
        for v in manifest.variants
    ]
    columns = [
        ("variant", "left"),
        ("KB", "right"),
        ("metrics", "left"),
        ("measured with", "left"),
        ("runs on", "left"),
    ]
    table(out, columns, rows)
    for v in manifest.variants:
        if v.sizes:
            sizes = ", ".join(f"{name} {size:,} bytes" for name, size in v.sizes.items())
            out.print(f"{v.name}: code and tables {sizes}", markup=False, soft_wrap=True)
    for used in manifest.data:
        classes = f", {len(used.classes)} classes" if used.classes else ""
        out.print(f"{used.role:<12} {used.samples} samples{classes}, {used.origin} ({used.sha256[:12]})")
    out.print(f"golden       {len(manifest.golden.samples)} samples")
    for note in manifest.notes:
        out.print(note, markup=False, soft_wrap=True)
    for warning in manifest.warnings:
        out.print(f"[yellow]![/] {escape(warning)}", soft_wrap=True)
