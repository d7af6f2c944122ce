"""Runs the evaluation and writes its report: report.json for programs, report.html for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.errors import DataError, SchemaError
from contracts.files import atomic_dir
from contracts.recommend import Recommend
from training.evaluation.clicks import ClickSection, click_section, has_impressions
from training.evaluation.config import EvaluationConfig
from training.evaluation.nats import retrieval_nats
from training.evaluation.page import render_page
from training.evaluation.runs import Stopwatch, run_baselines, run_oracle, run_pipeline
from training.evaluation.summary import TrainingRows
from training.evaluation.table import main_table
from training.evaluation.test_day import TestDay, test_day
from training.evaluation.values import Outcomes, ReportValues, report_figures
from training.features.config import PreprocessConfig
from training.features.processed import Processed
from training.simulator.oracle import Oracle

REPORT_JSON: Final = "report.json"
REPORT_HTML: Final = "report.html"


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        values: content of report.json.
        path: its folder.
    """

    values: ReportValues
    path: Path

    def __str__(self) -> str:
        return main_table(self.values)


def evaluate(
    config: EvaluationConfig,
    processed: Processed,
    bundle: Bundle,
    recommend: Recommend,
    oracle: Oracle | None,
    out_dir: Path,
    records_dir: Path | None = None,
    before: tuple[Recommend, Bundle] | None = None,
) -> Report:
    """Evaluates a bundle on the last day and writes report.json and report.html.

    Args:
        config: sample sizes and seeds.
        processed: the run that the bundle was made from.
        bundle: the bundle.
        recommend: the pipeline over that bundle.
        oracle: of the simulated shop; None for real tables.
        out_dir: folder of the report; replaced if it exists.
        records_dir: folder of the shop's records; impressions of users erased there are left out.
        before: pipeline and bundle of the models before the refit; None if the bundle's models are those.

    Raises:
        DataError: bundle and processed run have other catalogues, or the test day has no positives.
    """
    _check_catalogue(processed, bundle)
    stopwatch = Stopwatch()
    with stopwatch("events"):
        day = test_day(processed.events(), processed.info.last_day, np.asarray(bundle.items.launched_at), config)
    outcomes = _outcomes(config, processed, bundle, recommend, oracle, before, day, stopwatch)
    with stopwatch("figures"):
        figures = report_figures(config, processed, bundle, day, outcomes)
    with stopwatch("impressions"):
        clicks = _impressions(processed, bundle, config, figures["warnings"], oracle is not None, records_dir)
    timings = {part: round(seconds, 3) for part, seconds in stopwatch.seconds.items()}
    values: ReportValues = {**figures, "impressions": clicks, "timings": timings}
    with atomic_dir(out_dir) as folder:
        (folder / REPORT_JSON).write_text(json.dumps(values, indent=2, allow_nan=False), encoding="utf-8")
        (folder / REPORT_HTML).write_text(render_page(values), encoding="utf-8")
    return Report(values, out_dir)


def _outcomes(
    config: EvaluationConfig,
    processed: Processed,
    bundle: Bundle,
    recommend: Recommend,
    oracle: Oracle | None,
    before: tuple[Recommend, Bundle] | None,
    day: TestDay,
    stopwatch: Stopwatch,
) -> Outcomes:
    """Runs every method; the oracle and the pipeline also on rows of the last training day."""
    with stopwatch("pipeline"):
        pipeline = run_pipeline(recommend, bundle, processed, day, config, filtered=False)
    with stopwatch("pipeline_filtered"):
        filtered = run_pipeline(recommend, bundle, processed, day, config, filtered=True)
    with stopwatch("pipeline_before_refit"):
        unrefit = None if before is None else run_pipeline(*before, processed, day, config, filtered=False)
    with stopwatch("retrieval_nats"):
        nats = retrieval_nats(bundle, processed, day)
    with stopwatch("training_rows"):
        training = _training_rows(config, processed, bundle, recommend, oracle, day)
    baselines = run_baselines(day, config, stopwatch)
    best = None if oracle is None else run_oracle(oracle, processed, day, config, stopwatch)
    return Outcomes(pipeline, filtered, unrefit, nats, training, baselines, best)


def _training_rows(
    config: EvaluationConfig,
    processed: Processed,
    bundle: Bundle,
    recommend: Recommend,
    oracle: Oracle | None,
    day: TestDay,
) -> TrainingRows:
    few = config.model_copy(update={"max_events": config.max_training_events, "max_users": 1})
    trained = test_day(day.events, processed.info.train_end_day, day.launched_at, few)
    pipeline = run_pipeline(recommend, bundle, processed, trained, few, filtered=False).ranked
    if oracle is None:
        return TrainingRows(trained, pipeline, None)
    best = run_oracle(oracle, processed, trained, few, Stopwatch(), ablations=False)
    return TrainingRows(trained, pipeline, best.full)


def _check_catalogue(processed: Processed, bundle: Bundle) -> None:
    if processed.items[c.ITEM_ID].to_pylist() != list(bundle.strings("items/item_id")):
        raise DataError(
            f"bundle {bundle.version} and the run in {processed.path} have different catalogues; "
            "evaluate a bundle on the run that it was made from"
        )


def _impressions(
    processed: Processed,
    bundle: Bundle,
    config: EvaluationConfig,
    warnings: list[str],
    has_oracle: bool,
    records_dir: Path | None,
) -> ClickSection | None:
    """None if the shop logs no impressions, or none can be used yet; the latter adds a warning."""
    if not has_impressions(Path(processed.info.raw_dir)):
        return None
    settings = PreprocessConfig.model_validate(bundle.manifest.section("preprocess"))
    renamed = settings.columns.get(c.IMPRESSIONS.name, {})
    try:
        return click_section(processed, renamed, config, has_oracle=has_oracle, records_dir=records_dir)
    except SchemaError:
        raise
    except DataError as error:
        warnings.append(f"no figures on impressions: {error}")
        return None
