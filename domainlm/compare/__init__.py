"""Comparing ways of training on the same data, over several seeds.

    report = compare(experiment, trials, groups)

It reads no model and no text: the scores of each item come from the evaluate stage, what each training cost from the
train stage, and a step brings them together.
"""

from domainlm.compare.comparison import Trial, TrialRow, compare
from domainlm.compare.report import ComparisonReport
from domainlm.compare.retention import RetentionReport, retention

__all__ = ["ComparisonReport", "RetentionReport", "Trial", "TrialRow", "compare", "retention"]
