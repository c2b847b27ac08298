"""`edgekit export`: a trained model to a verified bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli.options import (
    CalibrationData_,
    CalibrationSamples_,
    Data_,
    InputShape_,
    Label_,
    Labels_,
    Licence_,
    Limit_,
    MaxDrop_,
    Output_,
    Overwrite_,
    Preprocess_,
    Task_,
    Trust_,
    Weights_,
)
from edgekit.plan import ExportPlan
from edgekit_runtime.errors import ContractBroken, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.progress import Progress
    from edgekit.result import ExportResult
    from edgekit.speed import Speed


def export_command(
    model: Annotated[
        str | None,
        typer.Argument(
            help="run folder of `edgekit train`, .keras, .h5, SavedModel, .onnx, .tflite, .pt2, file.py:factory, "
            ".joblib, .pkl, .skops, .ubj, .txt"
        ),
    ] = None,
    target: Annotated[str | None, typer.Option("--target", "-t", help="device, as in `edgekit targets`")] = None,
    output: Output_ = None,
    data: Data_ = None,
    label: Label_ = None,
    text: Annotated[str | None, typer.Option(help="text column of a table, for models that take a text")] = None,
    labels: Labels_ = None,
    calibration_data: CalibrationData_ = None,
    calibration_samples: CalibrationSamples_ = 200,
    preprocess: Preprocess_ = None,
    format: Annotated[str | None, typer.Option(help="onnx, tflite or c; the target's first by default")] = None,
    quantize: Annotated[str, typer.Option(help="fp32, fp16, dynamic, int8, w8a16 or auto")] = "auto",
    max_drop: MaxDrop_ = None,
    weights: Weights_ = None,
    input_shape: InputShape_ = None,
    task: Task_ = None,
    keep: Annotated[
        str, typer.Option(help="chosen: only the chosen variant goes into the bundle; all: every one")
    ] = "chosen",
    limit: Limit_ = None,
    trust: Trust_ = False,
    prefix: Annotated[str | None, typer.Option(help="plain code: what its public names begin with")] = None,
    layout: Annotated[str | None, typer.Option(help="plain code: speed, size or auto")] = None,
    leaves: Annotated[str | None, typer.Option(help="plain code: exact, float or fixed")] = None,
    unpack: Annotated[str | None, typer.Option(help="plain code: folder to write the source files to besides")] = None,
    language: Annotated[
        str | None,
        typer.Option(help="language of what --unpack writes: c, python, java, javascript, go, rust, csharp, php, dart"),
    ] = None,
    arduino: Annotated[bool, typer.Option("--arduino", help="write --unpack as an Arduino library")] = False,
    min_offload: Annotated[
        float | None, typer.Option(help="least share of operators on the accelerator, 0.95 = 95 %")
    ] = None,
    require_accelerator: Annotated[
        bool, typer.Option("--require-accelerator", help="every operator must be on the accelerator")
    ] = False,
    require_compiled: Annotated[
        bool, typer.Option("--require-compiled", help="coral: the Edge TPU compiler must make the model; else exit 4")
    ] = False,
    licence: Licence_ = None,
    report: Annotated[bool, typer.Option("--report", help="write a page about the export beside the bundle")] = False,
    overwrite: Overwrite_ = False,
    config: Annotated[Path | None, typer.Option(help="a plan that --dry-run printed")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the resolved plan and stop")] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object to standard output")] = False,
) -> None:
    """Export a trained model to a bundle that is quantized for the target and has proven its accuracy."""
    given: dict[str, Any] = {
        "output": output, "data": data, "label": label, "labels": labels, "calibration_data": calibration_data,
        "preprocess": preprocess, "format": format, "max_drop": max_drop, "weights": weights, "task": task,
        "text": text, "prefix": prefix, "layout": layout, "leaves": leaves, "unpack": unpack, "limit": limit,
        "language": language, "min_offload": min_offload,
        "licences": tuple(licence) if licence else None,
    }  # fmt: skip
    given = {k: v for k, v in given.items() if v is not None}
    flags = {
        "trust": trust,
        "overwrite": overwrite,
        "report": report,
        "arduino": arduino,
        "require_accelerator": require_accelerator,
        "require_compiled": require_compiled,
    }
    given |= {k: True for k, v in flags.items() if v}
    defaults = {
        "calibration_samples": (calibration_samples, 200),
        "quantize": (quantize, "auto"),
        "keep": (keep, "chosen"),
    }
    given |= {k: v for k, (v, default) in defaults.items() if v != default}
    if input_shape is not None:
        given["input_shape"] = shape_of(input_shape)
    if config is not None:
        try:
            text = config.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {config}", "make one with --dry-run") from error
        if model is not None:
            given["model"] = model
        if target is not None:
            given["target"] = target
        plan = ExportPlan.from_json(text, **given)
    else:
        if model is None or target is None:
            raise UsageError("export needs a model and a target", "edgekit export MODEL --target pi")
        plan = ExportPlan(model=model, target=target, **given)
    if dry_run:
        from edgekit.targets import resolve_target

        print(replace(plan, target=resolve_target(plan.target).target.name, output=None or plan.output).to_json())
        return
    _export(plan, json)


def shape_of(text: str) -> tuple[int, ...]:
    """An input shape as people type it.

    Raises:
        UsageError: It is none.
    """
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or any(extent == 0 or extent < -1 for extent in shape):
        raise UsageError(f"--input-shape {text!r} is not a shape", "write it as 1,3,224,224")
    return shape


def _export(plan: ExportPlan, as_json: bool) -> None:
    from edgekit.cli.show import TerminalProgress, console, print_json
    from edgekit.pipeline import export
    from edgekit.speed import measure

    progress = TerminalProgress(console(as_json))
    result = export(plan, progress)
    speed = measure(result.bundle)
    report = _report(plan, result, speed, progress) if plan.report else None
    _print(console(as_json), result, speed, plan.max_drop, report)
    if as_json:
        print_json(summary(result, speed, report))
    if not result.choice.held:
        raise ContractBroken(
            f"the contract is broken: {result.choice.remark}", f"the best so far is in {result.bundle}"
        )
    if why := _gate(plan, result):
        raise ContractBroken(why, f"`edgekit placement {result.bundle}` shows each operator")


def _gate(plan: ExportPlan, result: ExportResult) -> str:
    if plan.min_offload is None and not plan.require_accelerator:
        return ""
    if result.placement is None:
        return f"where the operators of {result.choice.name} run on {result.manifest.target} is not known"
    return result.placement.broken(plan.min_offload, plan.require_accelerator)


def _report(plan: ExportPlan, result: ExportResult, speed: Speed, progress: Progress) -> Path:
    from edgekit.report import report_data, write_report

    with progress.stage("report", "one page, self-contained") as stage:
        data = report_data(result, speed.medians, max_drop=plan.max_drop, machine=speed.machine)
        stage.file = write_report(plan.report_path(), data, overwrite=plan.overwrite)
    return stage.file


def summary(result: ExportResult, speed: Speed, report: Path | None = None) -> dict[str, Any]:
    """What `export --json` prints; latencies are this machine's."""
    rows = [
        {
            "name": r.variant.name,
            "format": r.variant.format,
            "precision": r.variant.precision,
            "bytes": r.bytes,
            "metrics": dict(r.variant.metrics),
            "fidelity": dict(r.variant.fidelity),
            "sizes": dict(r.variant.sizes),
            "latency_ms": speed.medians.get(r.variant.name),
        }
        for r in result.variants
    ]
    drop = next(r.drop for r in result.variants if r.variant.name == result.choice.name)
    return {
        "bundle": str(result.bundle),
        "report": str(report) if report else None,
        "digest": result.digest,
        "target": result.manifest.target,
        "source": {"framework": result.manifest.source.framework, "metrics": dict(result.manifest.source.metrics)},
        "variants": rows,
        "chosen": result.choice.name,
        "drop": drop,
        "contract": {"held": result.choice.held},
        "placement": None
        if result.placement is None
        else {
            "unit": result.placement.unit,
            "origin": result.placement.origin,
            "accelerated": result.placement.accelerated,
            "operators": len(result.placement.ops),
            "offload": result.placement.offload,
        },
        "warnings": list(result.manifest.warnings),
    }


def _print(out: Console, result: ExportResult, speed: Speed, max_drop: float | None, report: Path | None) -> None:
    from edgekit.cli.show import kilobytes, table
    from edgekit_runtime.backends import accelerator_of

    source, chosen = result.source, result.choice.name
    metrics = list(source.metrics)[:3] if source else []
    rows = []
    if source:
        rows.append(["source", "", "", *(f"{source.metrics[m]:.4f}" for m in metrics), "", ""])
    for r in result.variants:
        name, latency = r.variant.name, speed.medians.get(r.variant.name)
        measured = [f"{r.variant.metrics[m]:.4f}" for m in metrics]
        measured += ["-" if r.drop is None else f"{r.drop:+.4f}"] if source else []
        rows.append(
            [f"{name} ←" if name == chosen else name, r.variant.precision, kilobytes(r.bytes), *measured,
             "" if latency is None else f"{latency:.3f}"]
        )  # fmt: skip
    columns = [("variant", "left"), ("precision", "left"), ("KB", "right"), *((m, "right") for m in metrics)]
    columns += [("drop", "right")] * bool(source) + [("ms here", "right")]
    out.print()
    table(out, columns, rows)
    if result.source is None:
        out.print("[yellow]accuracy was not measured[/] (no labelled --data)")
    if max_drop is not None:
        out.print(f"contract: drop at most {max_drop:g} - {'held' if result.choice.held else '[red]broken[/]'}")
    if result.placement is not None:
        out.print(f"placement  {result.placement.in_words()}", markup=False, soft_wrap=True)
    bundle = result.bundle
    trust = " --trust" if result.manifest.variant().builds else ""  # native code runs on the user's word alone
    here = ""
    if accelerator_of(result.manifest.variant().backends):
        here = f" --backend {result.manifest.variants[1].backends[0]}"  # the CPU twin, asked for
    written = f"\nbundle  {bundle}\n" + (f"report  {report}\n" if report else "")
    out.print(f"{written}next    edgekit run{trust}{here} {bundle} INPUT", soft_wrap=True, markup=False)
    if any(name.startswith("cortex-") for name in result.manifest.variant().sizes):
        out.print(f"        instructions: edgekit benchmark {bundle}", soft_wrap=True, markup=False)
        out.print("        the C for your firmware: export with --unpack DIR", soft_wrap=True, markup=False)
        return
    out.print(
        f'        on the device: pip install "edgekit-runtime[{_extra(result)}]" '
        f"&& edgekit-runtime selftest{trust} {bundle.name}",
        soft_wrap=True,
        markup=False,
    )


def _extra(result: ExportResult) -> str:
    from edgekit.targets import load_target
    from edgekit_runtime.backends import backend

    first = backend(result.manifest.variant().backends[0])
    return first.extra if first.native else load_target(result.manifest.target).extra
