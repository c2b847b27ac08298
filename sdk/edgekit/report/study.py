"""The page about a study: its best trials, its pictures, and every trial with what became of it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.contract.tune.result import TrialRow, figure, words
from edgekit.report.filling import filled, write_page

if TYPE_CHECKING:
    from edgekit.contract.tune.plan import TunePlan
    from edgekit.contract.tune.result import TuneResult

_ROWS = 500
"""Trials on the page; the storage has them all."""
MEANS = {
    "accuracy": "the task's first metric on validation samples",
    "latency": "time of one inference next to the float model's, in turns on the machine that ran the trial",
    "size": "bytes of the model file",
}


def write_study(plan: TunePlan, result: TuneResult, pictures: Mapping[str, Path]) -> Path:
    """Write ``study.html`` into the study folder; it is there whole, or not at all.

    Args:
        plan: What was searched.
        result: What came of it.
        pictures: Title to PNG file; they go into the page.

    Raises:
        ReportError: It cannot be written (a full disk, for one).
    """
    return write_page(result.page, render_study(plan, result, pictures), overwrite=True)


def render_study(plan: TunePlan, result: TuneResult, pictures: Mapping[str, Path]) -> str:
    """The page as HTML; everything that comes from outside is escaped."""
    return filled(
        "study.html",
        plan=plan,
        result=result,
        counts={s: sum(t.state == s for t in result.trials) for s in ("complete", "pruned", "failed")},
        pictures=[(title, b64encode(file.read_bytes()).decode()) for title, file in pictures.items()],
        front=[_row(t) for t in result.front],
        trials=[_row(t) for t in result.trials[:_ROWS]],
        left=max(0, len(result.trials) - _ROWS),
        space=[(name, str(one)) for name, one in plan.parameters().items()],
        means=[(name, MEANS[name]) for name in result.objectives],
    )


def _row(trial: TrialRow) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "best": trial.best,
        "params": words(trial.params),
        "reason": trial.reason,
        "values": [figure(v) for v in trial.values],
    }
