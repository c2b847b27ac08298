"""The page about a compression: an export's, with the ladder and its picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.report.content import ClimbData, ClimbRow, ReportData, report_data
from edgekit.report.pareto import Point, pareto

if TYPE_CHECKING:
    from edgekit.contract.attempt import Attempt
    from edgekit.contract.compress import CompressResult
    from edgekit.evaluate import Interval


def climb_data(result: CompressResult) -> ReportData:
    """Gather the content of the page.

    Raises:
        EdgekitError: A sample picture cannot be read.
    """
    from edgekit.contract.memory import HOW

    latencies = {a.result.variant.name: a.latency.ms for a in result.attempts if a.result and a.latency}
    data = report_data(result.export, latencies, max_drop=result.contract.max_drop, machine=result.where)
    rows = tuple(_row(number, a, result) for number, a in enumerate(result.attempts, 1))
    # float's time of its own attempt is the yardstick: ratios are of turns, times of attempts are minutes apart
    yardstick = rows[0].latency_ms or 0.0
    points = [
        Point(r.number, r.rung, r.ratio * yardstick, r.metric, r.bytes or 0, r.chosen, r.holds)
        for r in rows
        if r.ratio is not None and r.metric is not None and yardstick
    ]
    source, limit = result.export.source, result.contract.max_drop
    least = source.metrics[result.metric] - limit if source is not None and limit is not None else None
    plot = pareto(points, result.contract.max_latency_ms, least)
    remark, contract = result.verdict.remark, result.contract.in_words()
    return replace(
        data, climb=ClimbData(rows, plot, result.metric, contract, remark, result.where, HOW, result.chosen_by)
    )


def _row(number: int, attempt: Attempt, result: CompressResult) -> ClimbRow:
    made, latency, memory = attempt.result, attempt.latency, attempt.memory
    verdict = attempt.verdict(result.contract)
    return ClimbRow(
        number,
        attempt.rung,
        attempt.cost,
        made.variant.metrics.get(result.metric) if made and result.metric else None,
        _words(attempt.interval),
        made.drop if made else None,
        _words(attempt.drop_interval, sign="+"),
        latency.ms if latency else None,
        latency.ratio if latency else None,
        made.bytes if made else None,
        memory.kb if memory else None,
        verdict,
        attempt is result.verdict.chosen,
        verdict == "holds",
        attempt.trial.drop if attempt.trial else None,
    )


def _words(interval: Interval | None, sign: str = "") -> str:
    return "" if interval is None else f"{interval.low:{sign}.3f} to {interval.high:{sign}.3f}"
