"""The page about a diagnosis: what each cause explains, the layers, and the pictures as the model sees them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.contract.diagnose.finding import Diagnosis, Finding, Layer, short_name
from edgekit.report.charts import Bar, bars
from edgekit.report.filling import filled, write_page
from edgekit.report.pictures import thumbnail

_LAYERS = 12


def write_diagnosis(path: str | os.PathLike[str], found: Diagnosis, *, overwrite: bool = False) -> Path:
    """Write the page; it is there whole, or not at all.

    Args:
        path: The ``.html`` file to make.
        found: The diagnosis.
        overwrite: Whether an existing file may be replaced.

    Raises:
        UsageError: The file exists.
        ReportError: It cannot be written (a full disk, for one).
    """
    return write_page(path, render_diagnosis(found), overwrite=overwrite)


def render_diagnosis(found: Diagnosis) -> str:
    """The page as HTML; everything that comes from outside is escaped."""
    return filled(
        "diagnosis.html",
        d=found,
        charts=_charts(found),
        layers=[(short_name(one.name), one) for one in found.layers[:_LAYERS]],
        findings=[{"finding": f, "evidence": _evidence(f.evidence), "seen": _thumbnails(f)} for f in found.findings],
    )


def _charts(found: Diagnosis) -> list[dict[str, Any]]:
    charts = []
    if found.shipped is not None and found.floating is not None and found.reachable is not None:
        rows = [Bar("bundle", found.shipped, f"{found.shipped:.4f}"),
                Bar("float", found.floating, f"{found.floating:.4f}")]  # fmt: skip
        if found.reachable != found.floating:
            rows.append(Bar("float, mended", found.reachable, f"{found.reachable:.4f}"))
        if found.repair is not None:
            rows.append(Bar("repaired", found.repair.accuracy, f"{found.repair.accuracy:.4f}", chosen=True))
        charts.append({"title": found.metric, "note": f"on {found.samples:,} samples", "bars": bars(rows, full=1.0)})
    explained = [f for f in found.findings if f.explains is not None]
    if explained:
        rows = [Bar(f.kind, f.explains or 0.0, f"{f.explains:+.4f}") for f in explained]
        charts.append({"title": "What each cause explains", "note": f"of {found.metric}, by its fix alone",
                       "bars": bars(rows)})  # fmt: skip
    if found.layers:
        shown: tuple[Layer, ...] = found.layers[:_LAYERS]
        rows = [Bar(short_name(one.name), max(one.sqnr_db, 0.0), f"{one.sqnr_db:.1f}") for one in shown]
        charts.append({"title": "Layers", "note": "dB of signal to quantization noise, worst first",
                       "bars": bars(rows)})  # fmt: skip
    return charts


def _evidence(evidence: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name.replace("_", " "), value) for name, value in evidence.items() if value not in (None, [], {}, ())]


def _thumbnails(finding: Finding) -> list[tuple[str, str]]:
    return [(thumbnail(before)[0], thumbnail(after)[0]) for before, after in finding.seen]
