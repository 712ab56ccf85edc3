"""Screening 筛查: what only a comparison of lines shows; its results are leads, never penalties.

A model looks for one pattern and is one file in models/; thresholds.toml holds every number it compares
with. base.py makes the tables that models share, judge.py compares with peers and writes leads, score.py
turns leads into risk, credit and grade with a reason for every point, run.py runs it all and can resume.
"""

from tracecode.screening.run import RunSummary, run_screening

__all__ = ["RunSummary", "run_screening"]
