"""The report: what runs were asked, on which data, what came out and at what cost, in one HTML file that needs nothing else."""

from recsmith.report.content import ReportContent, gather
from recsmith.report.page import render, write_report

__all__ = ["ReportContent", "gather", "render", "write_report"]
