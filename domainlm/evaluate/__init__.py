"""Evaluate: base, tuned model, controls and baselines on the same items, with intervals and a verdict a claim."""

from domainlm.evaluate.evaluation import evaluate
from domainlm.evaluate.report import EvaluationReport

__all__ = ["EvaluationReport", "evaluate"]
