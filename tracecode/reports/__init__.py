"""Reports of a month or a quarter 月报、季报: what was covered, found, confirmed, recovered, and how fast.

A report is made from the data folder alone, which is only read, and names the entry up to which it counts:
the same ledger gives the same bytes. figures.py has every number with its definition, tables.py every list;
the other files say where they are counted from and how they are written.
"""

from tracecode.reports.export import FORMATS, export_report
from tracecode.reports.period import Period
from tracecode.reports.report import Report, make_report

__all__ = ["FORMATS", "Period", "Report", "export_report", "make_report"]
