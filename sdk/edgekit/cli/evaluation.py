"""`edgekit eval|compare`: how well a bundle does, and whether another does better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli.bundles import Backend_, Bundle_, Json_, Trust_, Variant_

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.data import Sample
    from edgekit.evaluate.bundles import Measured
    from edgekit.evaluate.intervals import Interval

Data_ = Annotated[str, typer.Option(help="labelled data set; its test split is used unless --split says otherwise")]
Label_ = Annotated[str | None, typer.Option(help="label column of a table")]
Limit_ = Annotated[int | None, typer.Option(help="use at most this many samples", min=1)]
Split_ = Annotated[str, typer.Option(help="test, train, validation or all")]

_CLASS_ROWS = 30
_PICTURE_ROWS = 20


def eval_command(
    bundle: Bundle_,
    data: Data_,
    label: Label_ = None,
    variant: Variant_ = None,
    backend: Backend_ = None,
    trust: Trust_ = False,
    limit: Limit_ = None,
    split: Split_ = "test",
    by: Annotated[
        str | None, typer.Option("--slice", help="measure the parts of the samples too, by this column of the table")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="write a page with all of it and with the samples that went worst to this file")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the report if it exists")] = False,
    json: Json_ = False,
) -> None:
    """Measure a bundle's accuracy on a data set, class by class and with the interval that so few samples leave."""
    from edgekit.cli.show import console, print_json, table
    from edgekit.evaluate import interval_of, measure_bundle, primary_metric, slices
    from edgekit.evaluate.intervals import LEVEL
    from edgekit.report.confusion import per_class
    from edgekit.report.filling import check_free

    out = console(json)
    if report is not None:
        check_free(report, overwrite=overwrite)
    with out.status("evaluating"):
        measured = measure_bundle(
            bundle, data, label=label, split=split, limit=limit, variant=variant, backend=backend, trust=trust
        )
        found, task = measured.evaluation, measured.task
        name, _ = primary_metric(task)
        interval = interval_of(found, task)
        parts = slices(found, _column(measured, by), task) if by else []
        if report is not None:
            from edgekit.report.measured import EvaluationReport, write_evaluation

            page = EvaluationReport(measured, bundle.name, data, split, interval, by or "", parts)
            write_evaluation(report, page, overwrite=overwrite)
    classes = per_class(found.confusion, measured.dataset.labels) if found.confusion else ()
    if json:
        said: dict[str, Any] = {
            "metrics": dict(found.metrics),
            "samples": found.samples,
            "intervals": {name: _ends(interval)} if interval else {},
            "variant": measured.variant,
            "report": str(report) if report is not None else None,
        }
        if classes:
            said["classes"] = [vars(c) for c in classes]
        if found.classes:
            said["classes"] = [
                {"label": c, "objects": n, "average_precision": ap} for c, (n, ap) in found.classes.items()
            ]
        if by:
            said["slices"] = [
                {"name": p.name, "samples": p.samples, name: p.value, "interval": _ends(p.interval)} for p in parts
            ]
        print_json(said)
        return
    rows = [[n, f"{v:.4f}", _span(interval) if n == name and interval else ""] for n, v in found.metrics.items()]
    table(out, [("metric", "left"), ("value", "right"), (f"{LEVEL:.0%} interval" if interval else "", "left")], rows)
    if classes:
        _print_classes(out, classes)
    if found.classes:
        _print_objects(out, found.classes)
    if parts:
        rows = [[p.name, str(p.samples), _figure(p.value), _span(p.interval)] for p in parts]
        table(out, [(str(by), "left"), ("samples", "right"), (name, "right"), ("interval", "left")], rows)
    out.print(f"{found.samples} samples, {measured.variant}", markup=False)
    if report is not None:
        out.print(f"report  {report}", markup=False, soft_wrap=True)


def compare_command(
    first: Annotated[Path, typer.Argument(help="the .edgekit file to hold against")],
    second: Annotated[Path, typer.Argument(help="the .edgekit file that may be worse")],
    data: Data_,
    label: Label_ = None,
    trust: Trust_ = False,
    limit: Limit_ = None,
    split: Split_ = "test",
    max_drop: Annotated[
        float | None, typer.Option(help="exit 3 where the second drops by more, as measured", min=0)
    ] = None,
    variant: Annotated[str | None, typer.Option(help="variant of the first; the chosen one by default")] = None,
    other_variant: Annotated[str | None, typer.Option(help="variant of the second; the chosen one by default")] = None,
    json: Json_ = False,
) -> None:
    """Say whether one bundle is really worse than another on the same samples, or whether it may be chance."""
    from edgekit.cli.show import console, print_json, table
    from edgekit.evaluate import compare, measure_bundle
    from edgekit.evaluate.paired import changed
    from edgekit_runtime.errors import ContractBroken

    out = console(json)
    both = []
    for path, wanted in ((first, variant), (second, other_variant)):
        with out.status(f"evaluating {path.name}"):
            both.append(measure_bundle(path, data, label=label, split=split, limit=limit, variant=wanted, trust=trust))
    one, other = both
    found = compare(one.evaluation, other.evaluation, one.task)
    flips = changed(one.evaluation, other.evaluation, one.dataset.labels) if one.evaluation.confusion else []
    if json:
        said = {k: v for k, v in vars(found).items() if k != "interval"}
        print_json({
            **said,
            "interval": _ends(found.interval),
            "real": found.real,
            "needed": found.needed,
            "metrics": {"first": dict(one.evaluation.metrics), "second": dict(other.evaluation.metrics)},
        })  # fmt: skip
    else:
        rows = [
            [n, f"{v:.4f}", f"{other.evaluation.metrics[n]:.4f}", f"{other.evaluation.metrics[n] - v:+.4f}"]
            for n, v in one.evaluation.metrics.items()
            if n in other.evaluation.metrics
        ]
        columns = [("metric", "left"), (first.name, "right"), (second.name, "right"), ("change", "right")]
        table(out, columns, rows)
        _print_changes(out, one, flips)
        if one.evaluation.matches:
            _print_pictures(out, one, other)
        out.print(found.in_words(), markup=False, soft_wrap=True)
    if max_drop is not None and found.drop > max_drop:
        raise ContractBroken(
            f"{second.name} drops by {found.drop:.4f} in {found.metric}, {max_drop:g} is allowed",
            "keep the first, or export the second with a higher precision",
        )


def _column(measured: Measured, name: str) -> list[Any]:
    """A column's value of each sample."""
    from edgekit_runtime.errors import UsageError

    if measured.task not in ("classification", "regression"):
        raise UsageError(f"{measured.task} is not measured by slices", "leave --slice out")
    columns = measured.dataset.columns
    if name not in columns:
        has = f"it has {', '.join(columns)}" if columns else "only tables have columns"
        raise UsageError(f"the data set has no column {name!r:.60}", has)
    return [s.source[name] for s in measured.samples]


def _print_classes(out: Console, classes: Sequence[Any]) -> None:
    from rich.markup import escape

    from edgekit.cli.show import table

    worst = sorted((c for c in classes if c.samples), key=lambda c: c.recall or 0.0)
    shown = classes if len(classes) <= _CLASS_ROWS else worst[:_CLASS_ROWS]
    rows = [[escape(c.label), str(c.samples), _figure(c.precision), _figure(c.recall)] for c in shown]
    heading = "class" if len(classes) <= _CLASS_ROWS else f"class (the worst of {len(classes)})"
    table(out, [(heading, "left"), ("samples", "right"), ("precision", "right"), ("recall", "right")], rows)


def _print_objects(out: Console, classes: Mapping[str, tuple[int, float | None]]) -> None:
    from rich.markup import escape

    from edgekit.cli.show import table

    there = [(name, n, ap) for name, (n, ap) in classes.items() if n]
    worst = sorted(there, key=lambda c: c[2] or 0.0)[:_CLASS_ROWS]
    rows = [[escape(name), str(n), _figure(ap)] for name, n, ap in (there if len(there) <= _CLASS_ROWS else worst)]
    heading = "class" if len(there) <= _CLASS_ROWS else f"class (the worst of {len(there)})"
    table(out, [(heading, "left"), ("objects", "right"), ("average precision", "right")], rows)


def _print_changes(out: Console, one: Measured, flips: Iterable[tuple[int, str, str]]) -> None:
    from rich.markup import escape

    from edgekit.cli.show import table

    samples: Sequence[Sample] = one.samples
    labels = one.dataset.labels
    rows = [
        [escape(samples[i].id), escape(labels[int(samples[i].label or 0)]), escape(a), escape(b)] for i, a, b in flips
    ]
    if rows:
        table(out, [("sample", "left"), ("is", "left"), ("first says", "left"), ("second says", "left")], rows)


def _print_pictures(out: Console, one: Measured, other: Measured) -> None:
    """Pictures that the second does worse on, worst first."""
    from rich.markup import escape

    from edgekit.cli.show import table
    from edgekit.evaluate.matches import picture_precision

    before, after = (picture_precision(m.evaluation.matches) for m in (one, other))
    order = [i for i in (after - before).argsort(kind="stable")[:_PICTURE_ROWS] if after[i] < before[i]]
    rows = [[escape(one.samples[i].id), f"{before[i]:.4f}", f"{after[i]:.4f}"] for i in order]
    if rows:
        table(out, [("picture", "left"), ("mAP of the first", "right"), ("of the second", "right")], rows)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _span(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
