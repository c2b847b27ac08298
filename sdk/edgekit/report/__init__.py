"""One self-contained page about an export: no script, no request, readable on paper."""

from edgekit.report.climb import climb_data
from edgekit.report.content import ReportData, ReportVariant, report_data
from edgekit.report.page import render, write_report
from edgekit.report.pictures import SamplePicture, sample_pictures

__all__ = [
    "ReportData",
    "ReportVariant",
    "SamplePicture",
    "climb_data",
    "render",
    "report_data",
    "sample_pictures",
    "write_report",
]
