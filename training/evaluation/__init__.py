"""Evaluates a bundle on the held-out day, beside baselines and, for a simulated shop, the best possible ranking."""

from training.evaluation.config import EvaluationConfig
from training.evaluation.report import Report, evaluate
from training.evaluation.table import main_table

__all__ = ["EvaluationConfig", "Report", "evaluate", "main_table"]
