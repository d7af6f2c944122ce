"""The content of report.json, section by section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

import numpy as np
from pydantic import JsonValue

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.clock import day_to_name
from contracts.ids import FloatArray
from training.evaluation.bootstrap import Estimate, Figure
from training.evaluation.clicks import ClickSection
from training.evaluation.config import EvaluationConfig
from training.evaluation.features import FeatureRow, feature_rows
from training.evaluation.figures import CURVE_K, POPULARITIES, SHARED, FigureMaker, Figures, content_vectors
from training.evaluation.ranked import Ranked
from training.evaluation.runs import OracleRun, PipelineRun
from training.evaluation.summary import (
    RefitSection,
    TrainingRows,
    TrainingSection,
    headline,
    refit_section,
    training_section,
)
from training.evaluation.test_day import TestDay
from training.features.processed import Processed
from training.index import METRICS, NUM_QUERIES
from training.simulator.oracle import Variant

NEGATIVES: Final = "the other retrieved candidates of the same query"
ANN_QUERIES: Final = "events of the validation days among the items launched by then, age bias included"
_RECALL_K: Final = (10, 50, 100, 200, 300)
_RECALL_SHARES: Final = ("recall@100", "recall@300")


Section = dict[str, Figure | str]
"""Figures, and one text about them."""


class DataSection(TypedDict):
    """The shop and the test day; days are YYYY-MM-DD. Preset and size are those of a simulated shop, else null."""

    preset: JsonValue
    size: JsonValue
    events: int
    users: int
    items: int
    shop: str
    first_day: str
    train_end_day: str
    test_day: str
    test_events: int
    test_events_outside_window: int
    test_users: int


class OracleComparison(TypedDict):
    """Captured share and regret of the results without and with the seen filter; null without an oracle."""

    captured_share: Figures | None
    captured_share_filtered: Figures | None
    regret: Figures | None
    regret_filtered: Figures | None


class ReportFigures(OracleComparison):
    """Figures of the methods, by method and metric; null where a method was not run.

    `refit` is null if the served models are trained on the training days only.
    """

    headline: str
    bundle_version: str
    warnings: list[str]
    data: DataSection
    features: list[FeatureRow]
    pipeline: Figures
    pipeline_filtered: Figures
    refit: RefitSection | None
    training_rows: TrainingSection
    retrieval: Section
    ranking: Section
    baselines: dict[str, Figures | None]
    baselines_filtered: dict[str, Figures | None]
    oracle: dict[str, Figures | None]
    segments: dict[str, Figures]
    next_day: dict[str, Figures]
    lists: dict[str, Figures]
    curves: dict[str, list[float] | None]


class ReportValues(ReportFigures):
    """The content of report.json; `timings` are seconds by part of the evaluation."""

    impressions: ClickSection | None
    timings: dict[str, float]


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of all methods on the test day; a baseline has two: plain, and without the seen items.

    `before` is the pipeline of the models before the refit; None if the served models are those. `nats` are those of
    retrieval [Q], and `training` is the same pipeline on the last training day.
    """

    pipeline: PipelineRun
    filtered: PipelineRun
    before: PipelineRun | None
    nats: FloatArray
    training: TrainingRows
    baselines: Mapping[str, tuple[Ranked, Ranked] | None]
    oracle: OracleRun | None

    def pairs(self) -> dict[str, tuple[Ranked, Ranked]]:
        """The baselines that were run."""
        return {name: pair for name, pair in self.baselines.items() if pair is not None}

    def popularities(self, *, filtered: bool) -> dict[str, Ranked]:
        """The two popularities, with or without the seen items."""
        return {name: pair[filtered] for name, pair in self.pairs().items() if name in POPULARITIES}

    def plain(self) -> dict[str, Ranked]:
        """Pipeline, baselines and full oracle, seen filter off."""
        methods = {"pipeline": self.pipeline.ranked, **{name: pair[0] for name, pair in self.pairs().items()}}
        return methods if self.oracle is None else {**methods, "oracle": self.oracle.full}


def report_figures(
    config: EvaluationConfig, processed: Processed, bundle: Bundle, day: TestDay, outcomes: Outcomes
) -> ReportFigures:
    """Everything but impressions and timings."""
    make = FigureMaker(day, config.num_replicates, config.seed)
    pipeline, baselines = make.single(outcomes.pipeline.ranked), _baselines(make, outcomes, filtered=False)
    return {
        "headline": headline(pipeline, baselines),
        "bundle_version": bundle.version,
        "warnings": [*bundle.manifest.warnings, *_warnings(config, day, outcomes)],
        "data": _data(processed, bundle, day, is_simulated=outcomes.oracle is not None),
        "features": feature_rows(processed),
        "pipeline": pipeline,
        "pipeline_filtered": make.single(outcomes.filtered.ranked),
        "refit": refit_section(make, outcomes.before, outcomes.pipeline),
        "training_rows": training_section(make, pipeline, outcomes.training),
        "retrieval": _retrieval(make, outcomes, bundle),
        "ranking": _ranking(make, outcomes.pipeline),
        "baselines": baselines,
        "baselines_filtered": _baselines(make, outcomes, filtered=True),
        "oracle": _oracle(make, outcomes.oracle),
        "segments": _segments(make, processed, outcomes),
        **_against_oracle(make, outcomes),
        "next_day": {name: make.whole_day(ranked) for name, ranked in outcomes.plain().items()},
        "lists": _lists(make, processed, bundle, outcomes),
        "curves": _curves(make, outcomes),
    }


def _warnings(config: EvaluationConfig, day: TestDay, outcomes: Outcomes) -> list[str]:
    found = [
        f"{run.degraded} queries of {name} were answered without all of their parts"
        for name, run in (("pipeline", outcomes.pipeline), ("pipeline_filtered", outcomes.filtered))
        if run.degraded
    ]
    if any(pair is None for pair in outcomes.baselines.values()):
        found.append(f"no item-to-item baselines: the catalogue has more than {config.max_item_to_item} items")
    if not day.filtered.any():
        found.append("no target was new to its visitor: there are no figures with the seen filter on (n = 0)")
    return found


def _data(processed: Processed, bundle: Bundle, day: TestDay, *, is_simulated: bool) -> DataSection:
    simulator = bundle.manifest.section("simulator") if is_simulated else {}
    counts = processed.info.counts
    return {
        "preset": simulator.get("preset"),
        "size": simulator.get("size"),
        "events": counts["events"],
        "users": counts["users"],
        "items": counts["items"],
        "shop": processed.info.shop,
        "first_day": day_to_name(processed.info.first_day),
        "train_end_day": day_to_name(processed.info.train_end_day),
        "test_day": day_to_name(processed.info.last_day),
        "test_events": int(day.single.sum()),
        "test_events_outside_window": int((day.single & day.outside).sum()),
        "test_users": int(day.whole_day.sum()),
    }


def _baselines(make: FigureMaker, outcomes: Outcomes, *, filtered: bool) -> dict[str, Figures | None]:
    pairs = outcomes.baselines.items()
    return {name: None if pair is None else make.single(pair[filtered]) for name, pair in pairs}


def _retrieval(make: FigureMaker, outcomes: Outcomes, bundle: Bundle) -> Section:
    """Recall of retrieval, its share of the oracle's recall, and ANN recall."""
    retrieved = outcomes.pipeline.retrieved
    figures = make.recall_of(retrieved, _RECALL_K)
    if outcomes.oracle is not None:
        oracle = outcomes.oracle.full
        figures |= {f"share_of_oracle_{name}": make.ratio(retrieved, oracle, name) for name in _RECALL_SHARES}
        figures |= _nats(make, outcomes.nats, outcomes.oracle.nats)
    else:
        figures["nats"] = make.mean(outcomes.nats, make.day.single & np.isfinite(outcomes.nats))
    metrics = bundle.manifest.metrics
    recalls = {name.removeprefix(METRICS): value for name, value in metrics.items() if name.startswith(METRICS)}
    num_queries = int(recalls.pop(NUM_QUERIES.removeprefix(METRICS), 0))
    figures |= {name: Estimate(value, None, None, num_queries).json() for name, value in recalls.items()}
    return {**figures, "ann_recall_queries": ANN_QUERIES}


def _nats(make: FigureMaker, nats: FloatArray, oracle: FloatArray) -> Figures:
    """Loss of retrieval and of the oracle over the queries where both are finite, and the difference."""
    where = make.day.single & np.isfinite(nats) & np.isfinite(oracle)
    own, best = (np.where(where, values, 0.0) for values in (nats, oracle))
    differences = {"nats": own, "oracle_nats": best, "nats_above_oracle": own - best}
    return {name: make.mean(values, where) for name, values in differences.items()}


def _ranking(make: FigureMaker, pipeline: PipelineRun) -> Section:
    """Quality of the ranker's order of the candidates, beside that of retrieval's order."""
    comparable = make.day.single & np.isfinite(pipeline.auc_ranked) & np.isfinite(pipeline.auc_retrieved)
    found = pipeline.retrieved.rank >= 1
    return {
        "negatives": NEGATIVES,
        "auc": make.mean(np.nan_to_num(pipeline.auc_ranked), comparable),
        "auc_of_retrieval_order": make.mean(np.nan_to_num(pipeline.auc_retrieved), comparable),
        **{f"{name}_if_retrieved": figure for name, figure in make.some(pipeline.ranked, SHARED, found).items()},
        **{
            f"{name}_of_retrieval_order": figure
            for name, figure in make.some(pipeline.retrieved, (*SHARED, "mrr")).items()
        },
    }


def _oracle(make: FigureMaker, run: OracleRun | None) -> dict[str, Figures | None]:
    """The full oracle, the same without seen items, and its ablations; null without an oracle."""
    ablated = [str(variant) for variant in Variant if variant is not Variant.FULL]
    if run is None:
        return dict.fromkeys(("full", "filtered", *ablated))
    section: dict[str, Figures | None] = {"full": make.single(run.full), "filtered": make.single(run.filtered)}
    for name in ablated:
        loss = {f"loss_{metric}": figure for metric, figure in make.regret(run.ablations[name], run.full).items()}
        section[name] = make.single(run.ablations[name]) | loss
    return section


def _segments(make: FigureMaker, processed: Processed, outcomes: Outcomes) -> dict[str, Figures]:
    """The pipeline by segment, beside the oracle and the better popularity on the same queries."""
    devices = processed.transforms.vocabularies.get(c.DEVICE_TYPE)
    methods = {f"{name}_": ranked for name, ranked in outcomes.popularities(filtered=False).items()}
    if outcomes.oracle is not None:
        methods["oracle_"] = outcomes.oracle.full
    segments = {}
    for segment, where in make.segments(None if devices is None else devices.tokens).items():
        figures = make.some(outcomes.pipeline.ranked, (*SHARED, "mrr", "recall@100", "recall@300"), where)
        for prefix, ranked in methods.items():
            figures |= {prefix + name: figure for name, figure in make.some(ranked, SHARED, where).items()}
        segments[segment] = figures
    return segments


def _against_oracle(make: FigureMaker, outcomes: Outcomes) -> OracleComparison:
    if outcomes.oracle is None:
        return {"captured_share": None, "captured_share_filtered": None, "regret": None, "regret_filtered": None}
    plain, filtered = outcomes.pipeline.ranked, outcomes.filtered.ranked
    full, masked = outcomes.oracle.full, outcomes.oracle.filtered
    return {
        "captured_share": make.captured_share(plain, outcomes.popularities(filtered=False), full),
        "captured_share_filtered": make.captured_share(filtered, outcomes.popularities(filtered=True), masked),
        "regret": make.regret(plain, full),
        "regret_filtered": make.regret(filtered, masked),
    }


def _lists(make: FigureMaker, processed: Processed, bundle: Bundle, outcomes: Outcomes) -> dict[str, Figures]:
    events = make.day.events
    earlier = events.day < processed.info.last_day
    counts = np.bincount(events.item_row[earlier], minlength=bundle.num_items) + 1.0
    vectors = content_vectors(bundle.item_vectors("text"), bundle.item_vectors("image"))
    return {name: make.lists(ranked, counts / counts.sum(), vectors) for name, ranked in outcomes.plain().items()}


def _curves(make: FigureMaker, outcomes: Outcomes) -> dict[str, list[float] | None]:
    """Hit rate at each cut-off `k`; None for a method that scored no query."""
    methods = {"retrieval": outcomes.pipeline.retrieved, **outcomes.plain()}
    return {"k": [float(k) for k in CURVE_K], **{name: make.curve(ranked) for name, ranked in methods.items()}}
