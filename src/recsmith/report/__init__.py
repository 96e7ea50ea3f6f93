"""The report: what systems were asked, on which data, what came out, at what cost and for whom, in one HTML file without a network."""

from recsmith.report.content import ReportContent, gather, gather_tables
from recsmith.report.page import render, write_report

__all__ = ["ReportContent", "gather", "gather_tables", "render", "write_report"]
