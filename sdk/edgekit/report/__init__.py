"""Self-contained pages about an export, an evaluation or a study: no script, no request, readable on paper."""

from edgekit.report.climb import climb_data
from edgekit.report.content import ReportData, ReportVariant, report_data
from edgekit.report.measured import EvaluationReport, render_evaluation, write_evaluation
from edgekit.report.page import render, write_report
from edgekit.report.pictures import SamplePicture, sample_pictures

__all__ = [
    "EvaluationReport",
    "ReportData",
    "ReportVariant",
    "SamplePicture",
    "climb_data",
    "render",
    "render_evaluation",
    "report_data",
    "sample_pictures",
    "write_evaluation",
    "write_report",
]
