"""`edgekit diagnose`: why a bundle is worse than its source, and what repairs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli.bundles import Bundle_, Json_
from edgekit.cli.export import shape_of
from edgekit.cli.options import CalibrationData_, Label_, Overwrite_, Trust_
from edgekit.contract.choice import HELD

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.contract.diagnose import DiagnosePlan, Diagnosis, Finding

_LAYERS = 5


def diagnose_command(
    bundle: Bundle_,
    data: Annotated[
        str | None, typer.Option(help="labelled data set: its test split measures, its training split calibrates")
    ] = None,
    label: Label_ = None,
    source: Annotated[
        str | None, typer.Option(help="the model it was made from; the bundle's own float variant by default")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="weights of a source that is a PyTorch factory")] = None,
    input_shape: Annotated[str | None, typer.Option(help="of the source, as 1,3,224,224")] = None,
    calibration_data: CalibrationData_ = None,
    against: Annotated[
        str | None, typer.Option(help="another bundle, or a specification file, to hold the pre-processing against")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="variant to look at; the one that ships by default")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="kind of finding to look for, as in the guide; repeatable; all by default")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="measure on at most this many samples")] = None,
    max_drop: Annotated[float, typer.Option(help="drop against the float model that a repair may have")] = HELD,
    apply: Annotated[bool, typer.Option("--apply", help="make a repaired bundle; exit 3 if it is none")] = False,
    output: Annotated[str | None, typer.Option("--output", "-o", help="repaired bundle to write")] = None,
    overwrite: Overwrite_ = False,
    trust: Trust_ = False,
    report: Annotated[bool, typer.Option("--report", help="write a page about it beside the bundle")] = False,
    json: Json_ = False,
) -> None:
    """Say why a bundle is worse than its source, in the order of what each cause explains, and repair it."""
    from edgekit.cli.show import TerminalProgress, console, print_json
    from edgekit.contract.diagnose import DiagnosePlan, diagnose
    from edgekit_runtime.errors import ContractBroken

    out = console(json)
    plan = DiagnosePlan(
        bundle=str(bundle), data=data, label=label, source=source, weights=weights,
        input_shape=shape_of(input_shape) if input_shape else (), calibration_data=calibration_data, against=against,
        variant=variant, only=tuple(only or ()), limit=limit, max_drop=max_drop, apply=apply, output=output,
        overwrite=overwrite, trust=trust, report=report,
    )  # fmt: skip
    progress = TerminalProgress(out)
    found = diagnose(plan, progress)
    page = _report(plan, found, progress) if report else None
    if json:
        print_json(summary(found, page))
    _print(out, plan, found, page)
    if plan.apply and found.repair is not None and not found.repair.held:
        raise ContractBroken(
            f"not repaired: {found.repair.drop:.4f} in {found.metric} is left to the float model, "
            f"{plan.max_drop:g} is allowed",
            _left(found),
        )


def _left(found: Diagnosis) -> str:
    made = found.repair.bundle if found.repair else None
    return f"the best so far is in {made}" if made else "try edgekit compress, or give the model that was trained"


def _report(plan: DiagnosePlan, found: Diagnosis, progress: Any) -> Path:
    from edgekit.report.diagnosis import write_diagnosis

    with progress.stage("report", "one page, self-contained") as stage:
        stage.file = made = write_diagnosis(plan.report_path(), found, overwrite=plan.overwrite)
    return made


def summary(found: Diagnosis, report: Path | None = None) -> dict[str, Any]:
    """What `diagnose --json` prints."""
    repair = found.repair
    return {
        "bundle": str(found.bundle),
        "report": str(report) if report else None,
        "variant": found.variant,
        "metric": found.metric or None,
        "samples": found.samples,
        "shipped": found.shipped,
        "floating": found.floating,
        "reachable": found.reachable,
        "findings": [_plain(f) for f in found.findings],
        "cleared": [_plain(f) for f in found.cleared],
        "layers": [vars(layer) for layer in found.layers],
        "repair": None
        if repair is None
        else {
            "bundle": str(repair.bundle) if repair.bundle else None,
            "applied": list(repair.applied),
            "accuracy": repair.accuracy,
            "drop": repair.drop,
            "held": repair.held,
        },
    }


def _plain(finding: Finding) -> dict[str, Any]:
    from edgekit_runtime.plain import encode

    fix = finding.fix
    return {
        "kind": finding.kind,
        "subject": finding.subject,
        "says": finding.says,
        "evidence": encode_evidence(finding.evidence),
        "explains": finding.explains,
        "fix": None
        if fix is None
        else {
            "name": fix.name,
            "recalibrate": fix.recalibrate,
            "recipe": None if fix.recipe is None else [dict(step) for step in fix.recipe],
            "specification": None if fix.specification is None else encode(fix.specification),
        },
        "command": finding.command or None,
    }


def encode_evidence(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Evidence as JSON takes it."""
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in evidence.items()}


def _print(out: Console, plan: DiagnosePlan, found: Diagnosis, page: Path | None) -> None:
    from rich.markup import escape

    from edgekit.cli.show import table

    out.print()
    if found.shipped is not None and found.floating is not None and found.reachable is not None:
        rows = [["as it is in the bundle", f"{found.shipped:.4f}", found.variant],
                ["the float model behind its specification", f"{found.floating:.4f}", ""]]  # fmt: skip
        if found.reachable != found.floating:
            rows.append(["the float model behind the corrected one", f"{found.reachable:.4f}", ""])
        if found.repair and found.repair.bundle:
            rows.append(["repaired", f"{found.repair.accuracy:.4f}", str(found.repair.bundle)])
        heading = f"on {found.samples} samples"
        table(out, [(heading, "left"), (found.metric, "right"), ("", "left")], [list(map(escape, r)) for r in rows])
    if not found.findings:
        out.print("nothing found: no suspect explains more of the drop than chance would" + _rest(found))
    for number, finding in enumerate(found.findings, 1):
        share = "" if finding.explains is None else f"{finding.explains:+.4f}  "
        out.print(f"[bold]{number}. {share}{escape(finding.kind)}[/]: {escape(finding.says)}", soft_wrap=True)
        if finding.fix:
            out.print(f"   fix: {finding.fix.name}", markup=False, soft_wrap=True)
        if finding.command:
            out.print(f"   {finding.command}", markup=False, soft_wrap=True)
    for finding in found.cleared:
        out.print(f"[dim]cleared: {escape(finding.says)}{_worth(finding)}[/]", soft_wrap=True)
    if found.layers:
        _print_layers(out, found)
    if page:
        out.print(f"report  {page}", markup=False, soft_wrap=True)


def _rest(found: Diagnosis) -> str:
    if found.shipped is None or found.floating is None or abs(found.floating - found.shipped) < HELD / 2:
        return ""
    return f"; {abs(found.floating - found.shipped):.4f} is left unexplained"


def _worth(finding: Finding) -> str:
    return "" if finding.explains is None else f" (its fix gives {finding.explains:+.4f})"


def _print_layers(out: Console, found: Diagnosis) -> None:
    from rich.markup import escape

    from edgekit.cli.show import table
    from edgekit.contract.diagnose.finding import short_name

    asked = [one for one in found.layers if one.restored is not None]
    shown = [*asked, *(one for one in found.layers if one.restored is None)][:_LAYERS]
    rows = [
        [
            escape(short_name(one.name)),
            one.op,
            f"{one.sqnr_db:.1f}",
            f"{one.cosine:.4f}",
            f"{one.low:.3g} to {one.high:.3g}",
            f"{one.saturated:.1%}",
            f"{one.dead:.0%}",
            *(["–" if v is None else f"{v:+.4f}" for v in (one.alone, one.restored)] if asked else []),
        ]
        for one in shown
    ]
    columns = [("worst layers", "left"), ("operator", "left"), ("SQNR dB", "right"), ("cosine", "right"),
               ("float range", "left"), ("saturated", "right"), ("dead", "right")]  # fmt: skip
    if asked:
        columns += [("drop alone", "right"), ("gain in float", "right")]
    table(out, columns, rows)
