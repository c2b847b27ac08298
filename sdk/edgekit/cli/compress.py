"""`edgekit compress`: the cheapest recipe that holds a contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli.deploy import Python_, SshOption_, Wheelhouse_
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
from edgekit_runtime.errors import ContractBroken, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.contract.attempt import Attempt
    from edgekit.contract.compress import CompressResult
    from edgekit.evaluate import Interval
    from edgekit.progress import Progress


def compress_command(
    model: Annotated[str, typer.Argument(help=".keras, .h5, SavedModel, .onnx, .tflite, .pt2 or file.py:factory")],
    target: Annotated[str, typer.Option("--target", "-t", help="device, as in `edgekit targets`")],
    data: Data_ = None,
    max_drop: MaxDrop_ = None,
    max_latency: Annotated[float | None, typer.Option(help="largest median of one inference, in ms")] = None,
    max_size: Annotated[float | None, typer.Option(help="largest model file, in KB of 1,000 bytes")] = None,
    max_ram: Annotated[
        float | None, typer.Option(help="largest memory of the interpreter for this model, in KB of 1,000 bytes")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="[user@]board whose latencies count, over ssh; this machine's by default")
    ] = None,
    output: Output_ = None,
    label: Label_ = None,
    labels: Labels_ = None,
    calibration_data: CalibrationData_ = None,
    calibration_samples: CalibrationSamples_ = 200,
    preprocess: Preprocess_ = None,
    format: Annotated[str | None, typer.Option(help="onnx or tflite; the target's first by default")] = None,
    weights: Weights_ = None,
    input_shape: InputShape_ = None,
    task: Task_ = None,
    limit: Limit_ = None,
    work: Annotated[
        str | None, typer.Option(help="folder that keeps what was tried; .edgekit/compress by default")
    ] = None,
    keep: Annotated[
        str, typer.Option(help="chosen: only the chosen variant goes into the bundle; all: every one that was tried")
    ] = "chosen",
    trust: Trust_ = False,
    licence: Licence_ = None,
    report: Annotated[bool, typer.Option("--report", help="write a page about the climb beside the bundle")] = False,
    overwrite: Overwrite_ = False,
    ssh_option: SshOption_ = None,
    wheelhouse: Wheelhouse_ = None,
    python: Python_ = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object to standard output")] = False,
) -> None:
    """Find the cheapest recipe that holds a contract of accuracy, latency, size and memory."""
    from edgekit.cli.export import shape_of
    from edgekit.cli.show import TerminalProgress, console, print_json
    from edgekit.contract.board import Board
    from edgekit.contract.compress import CompressPlan, compress
    from edgekit.contract.contract import Contract
    from edgekit.plan import ExportPlan

    contract = Contract(max_drop, max_latency, max_size, max_ram)
    if host is None and (ssh_option or wheelhouse or python):
        raise UsageError("--ssh-option, --wheelhouse and --python are for a board", "name it with --host")
    export = ExportPlan(
        model=model, target=target, output=output, data=data, label=label, labels=labels,
        calibration_data=calibration_data, calibration_samples=calibration_samples, preprocess=preprocess,
        format=format, weights=weights, input_shape=shape_of(input_shape) if input_shape else (), task=task,
        limit=limit, keep=keep, trust=trust, licences=tuple(licence or ()), report=report, overwrite=overwrite,
    )  # fmt: skip
    board = Board(host, tuple(ssh_option or ()), wheelhouse, python) if host else None
    progress = TerminalProgress(console(json))
    result = compress(CompressPlan(export, contract, work, board), progress)
    page = _report(export, result, progress) if report else None
    _print(console(json), result, page)
    if json:
        print_json(summary(result, page))
    if not result.verdict.held:
        raise ContractBroken(
            f"the contract is broken: {result.verdict.remark}", f"the best so far is in {result.export.bundle}"
        )


def _report(plan: Any, result: CompressResult, progress: Progress) -> Path:
    from edgekit.report import climb_data, write_report

    with progress.stage("report", "one page, self-contained") as stage:
        stage.file = write_report(plan.bundle_path().with_suffix(".html"), climb_data(result), overwrite=plan.overwrite)
    return stage.file


def _both(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _row(attempt: Attempt, result: CompressResult) -> dict[str, Any]:
    from dataclasses import asdict

    made, latency, memory = attempt.result, attempt.latency, attempt.memory
    return {
        "rung": attempt.rung,
        "cost": attempt.cost,
        "name": made.variant.name if made else None,
        "precision": made.variant.precision if made else None,
        "recipe": [dict(step) for step in made.variant.recipe] if made else None,
        "metrics": dict(made.variant.metrics) if made else {},
        "interval": _both(attempt.interval),
        "drop": made.drop if made else None,
        "drop_interval": _both(attempt.drop_interval),
        "choosing": asdict(attempt.trial) if attempt.trial else None,
        "latency_ms": latency.ms if latency else None,
        "float_ms": latency.float_ms if latency else None,
        "latency_ratio": latency.ratio if latency else None,
        "latency_ratio_interval": [latency.low, latency.high] if latency else None,
        "bytes": made.bytes if made else None,
        "ram_bytes": memory.working + memory.base if memory else None,
        "ram_working_bytes": memory.working if memory else None,
        "ram_base_bytes": memory.base if memory else None,
        "verdict": attempt.verdict(result.contract),
        "ships": attempt.ships,
        "from_earlier_run": attempt.kept,
        "seconds": attempt.seconds,
    }


def summary(result: CompressResult, page: Path | None = None) -> dict[str, Any]:
    """What `compress --json` prints; latencies are of `measured_on`."""
    from dataclasses import asdict

    from edgekit.contract.memory import HOW

    made = result.verdict.chosen.result
    return {
        "bundle": str(result.export.bundle),
        "report": str(page) if page else None,
        "digest": result.export.digest,
        "target": result.export.manifest.target,
        "metric": result.metric or None,
        "source": dict(result.export.source.metrics) if result.export.source else {},
        "attempts": [_row(a, result) for a in result.attempts],
        "chosen": result.export.choice.name,
        "rung": result.verdict.chosen.rung,
        "drop": made.drop if made else None,
        "contract": {"held": result.verdict.held, **asdict(result.contract)},
        "remark": result.verdict.remark,
        "chosen_by": result.chosen_by or None,
        "measured_on": result.where,
        "ram_measured_as": HOW,
        "work": str(result.work),
        "warnings": list(result.export.manifest.warnings),
    }


def _print(out: Console, result: CompressResult, page: Path | None) -> None:
    from rich.markup import escape

    from edgekit.cli.show import table
    from edgekit.contract.memory import HOW

    columns = [("rung", "left"), *([(result.metric, "right"), ("drop", "right")] if result.metric else [])]
    if any(a.trial for a in result.attempts):
        columns.append(("to choose", "right"))
    columns += [("ms", "right"), ("of float", "right"), ("KB", "right"), ("RAM KB", "right"), ("verdict", "left")]
    out.print()
    table(out, columns, [_cells(a, result) for a in result.attempts])
    out.print(f"latency measured on {result.where}, in turns with float; RAM: {HOW}", markup=False, soft_wrap=True)
    if result.chosen_by:
        out.print(result.chosen_by, markup=False, soft_wrap=True)
    state = "held" if result.verdict.held else "[red]broken[/]"
    out.print(f"contract: {escape(result.contract.in_words())} - {state}")
    if result.verdict.remark:
        out.print(result.verdict.remark, markup=False, soft_wrap=True)
    out.print(f"\nbundle  {result.export.bundle}" + (f"\nreport  {page}" if page else ""), markup=False, soft_wrap=True)
    out.print(f"kept    {result.work}: the same again tries nothing twice", markup=False, soft_wrap=True)


def _cells(attempt: Attempt, result: CompressResult) -> Sequence[str]:
    from rich.markup import escape

    from edgekit.cli.show import kilobytes

    made, latency, memory = attempt.result, attempt.latency, attempt.memory
    cells = [escape(attempt.rung) + (" ←" if attempt is result.verdict.chosen else "")]
    if result.metric:
        value = made.variant.metrics.get(result.metric) if made else None
        half = f" ±{attempt.interval.half:.3f}" if attempt.interval else ""
        cells.append("-" if value is None else f"{value:.4f}{half}")
        cells.append("-" if made is None or made.drop is None else f"{made.drop:+.4f}")
    if any(a.trial for a in result.attempts):
        cells.append(f"{attempt.trial.drop:+.4f}" if attempt.trial else "-")
    cells += [f"{latency.ms:.3f}", f"{latency.ratio:.2f}"] if latency else ["-", "-"]
    cells += [kilobytes(made.bytes) if made else "-", f"{memory.kb:,.0f}" if memory else "-"]
    return [*cells, escape(attempt.verdict(result.contract))]
