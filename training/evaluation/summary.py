"""The report in short: whether a baseline is above the pipeline, and what the refit changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from contracts.clock import day_to_name
from training.evaluation.figures import SHARED, FigureMaker, Figures
from training.evaluation.ranked import Ranked
from training.evaluation.runs import PipelineRun
from training.evaluation.test_day import TestDay


class RefitSection(TypedDict):
    """The pipeline of models that were trained on training days only, and of the served ones, which are refit.

    `gain` is the difference, query by query.
    """

    before: Figures
    after: Figures
    gain: Figures


@dataclass(frozen=True)
class TrainingRows:
    """Outcome of the pipeline, and of the oracle where there is one, on a sample of the last training day."""

    day: TestDay
    pipeline: Ranked
    oracle: Ranked | None


class TrainingSection(TypedDict):
    """Figures of rows that the models were trained on; `minus_test_day` is how much better they are than the test's."""

    day: str
    pipeline: Figures
    oracle: Figures | None
    minus_test_day: dict[str, float | None]


def headline(pipeline: Figures, baselines: Mapping[str, Figures | None]) -> str:
    """Whether a baseline is above the pipeline, in a sentence."""
    for metric in SHARED:
        values = {name: figures[metric]["value"] or 0.0 for name, figures in baselines.items() if figures is not None}
        if not values:
            return "No baseline was run."
        best, own = max(values, key=lambda name: values[name]), pipeline[metric]["value"] or 0.0
        if values[best] > own:
            return (
                f"The baseline {best} is above the pipeline: {metric} {values[best]:.4f} against {own:.4f}. "
                "Do not serve these models."
            )
    return (
        f"The pipeline is above every baseline: {metric} {own:.4f}; the best of them, {best}, has {values[best]:.4f}."
    )


def refit_section(make: FigureMaker, before: PipelineRun | None, after: PipelineRun) -> RefitSection | None:
    """Figures before and after the refit; None without an outcome before it."""
    if before is None:
        return None
    names = (*SHARED, "mrr")
    return {
        "before": make.some(before.ranked, names),
        "after": make.some(after.ranked, names),
        "gain": make.regret(before.ranked, after.ranked),
    }


def training_section(make: FigureMaker, test: Figures, rows: TrainingRows) -> TrainingSection:
    """Figures of training rows beside those of the test day."""
    own = FigureMaker(rows.day, make.num_replicates, make.seed)
    pipeline = own.some(rows.pipeline, SHARED)
    differences = {}
    for name in SHARED:
        trained, tested = pipeline[name]["value"], test[name]["value"]
        differences[name] = None if trained is None or tested is None else trained - tested
    return {
        "day": day_to_name(rows.day.day),
        "pipeline": pipeline,
        "oracle": None if rows.oracle is None else own.some(rows.oracle, SHARED),
        "minus_test_day": differences,
    }
