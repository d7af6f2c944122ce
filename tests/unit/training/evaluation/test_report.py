"""The whole evaluation on the tiny shop, with a recommender and an oracle that can be checked by hand."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from contracts.bundle import Bundle
from contracts.clock import DAY_S
from contracts.errors import DataError
from contracts.messages import PipelineResult, QueryFeatures, SeenMask
from contracts.presets import SHOP
from tests.fixtures.report_pipelines import ByRow, KnowsAll, OneItemForAll, OnlyItem
from tests.fixtures.tiny_run import LAST_DAY, NUM_ITEMS, write_processed
from training.evaluation import EvaluationConfig, evaluate, main_table
from training.evaluation.features import feature_rows
from training.evaluation.figures import FigureMaker
from training.evaluation.plots import curves_plot, methods_plot, segments_plot
from training.evaluation.ranked import Ranked
from training.evaluation.test_day import test_day as collect
from training.features.processed import Processed, open_processed

if TYPE_CHECKING:
    from playwright.sync_api import Page

CONFIG = EvaluationConfig(batch_size=4, num_replicates=100)
METRIC_KEYS = {"value", "low", "high", "n"}


@pytest.fixture(scope="module")
def simulated(processed: Processed, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("reports")
    evaluate(CONFIG, processed, bundle, ByRow(bundle), KnowsAll(processed), folder / "v1")
    report: dict[str, Any] = json.loads((folder / "v1/report.json").read_text())
    page = folder / "v1/report.html"
    return {**report, "page": page.read_text(), "address": page.as_uri()}


def test_a_figure_of_nothing_is_null_and_the_report_draws_what_it_has(
    processed: Processed, bundle: Bundle, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"window_days": 60})
    same = OneItemForAll(processed.path, processed.info)
    values = evaluate(config, same, bundle, OnlyItem(bundle), None, tmp_path / "v1").values
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    assert values["data"]["test_events_outside_window"] == 0
    assert values["pipeline"]["hr@10"]["value"] == 1.0
    assert values["pipeline_filtered"] == dict.fromkeys(values["pipeline_filtered"], nothing)
    assert values["baselines_filtered"]["ease"]["ndcg@10"] == nothing
    assert values["ranking"]["auc"] == nothing, "the target is the only candidate"
    assert values["lists"]["pipeline"]["intra_list_diversity@10"] == nothing
    assert values["warnings"][-1].startswith("no target was new to its visitor")
    assert json.loads((tmp_path / "v1/report.json").read_text())["pipeline_filtered"]["mrr"]["value"] is None
    page = (tmp_path / "v1/report.html").read_text()
    assert page.count(">n = 0<") > 10
    assert "n = 0" in page[page.index("<svg") : page.rindex("</svg>")]
    assert "  pipeline" + "-".rjust(38) in main_table(values)


def test_the_features_are_told_with_what_they_leave_out(processed: Processed, tmp_path: Path) -> None:
    copy = Processed(Path(shutil.copytree(processed.path, tmp_path / "run")), processed.info)
    (copy.path / "report.json").write_text('{"out_of_vocabulary": {"category_l2": 3}}', encoding="utf-8")
    rows = {row["name"]: row for row in feature_rows(copy)}
    assert list(rows) == [feature.name for feature in SHOP.features]
    expected = {"side": "item", "column": "items.category_l2", "kind": "categorical", "ids": 3, "left_out": 3}
    assert rows["category_l2"] == {"name": "category_l2", **expected}
    assert (rows["age_binned"]["ids"], rows["hour"]["ids"], rows["text"]["ids"]) == (7, None, None)
    assert {row["left_out"] for row in feature_rows(processed)} == {0}


def test_a_method_that_was_not_asked_has_no_figures(processed: Processed) -> None:
    day = collect(processed.events(), LAST_DAY, processed.launched_at, CONFIG)
    make, nobody = FigureMaker(day, 100, 0), Ranked.empty(len(day))
    assert make.curve(nobody) is None
    figures = make.lists(nobody, np.full(NUM_ITEMS, 0.1), np.ones((NUM_ITEMS, 2), np.float32))
    assert {figure["value"] for figure in figures.values()} == {None}
    assert make.captured_share(nobody, {"popularity_all": nobody}, nobody)["hr@10"]["value"] is None
    assert "<svg" in curves_plot({"k": [1.0], "pipeline": None})
    hidden = {"hr@10": {"value": None, "low": None, "high": None, "n": 0}}
    assert "n = 0" in methods_plot({"pipeline": hidden}, ["hr@10"])
    assert "<svg" in segments_plot({"warm": hidden}, "hr@10", "popularity_3d")
    drawn = {"hr@10": {"value": 0.5, "low": None, "high": None, "n": 3}, "oracle_hr@10": hidden["hr@10"]}
    assert "oracle" in segments_plot({"warm": drawn}, "hr@10", "popularity_3d")


def test_figures_of_the_pipeline_by_hand(simulated: dict[str, Any], processed: Processed) -> None:
    """Ten events; items 6 to 11 are retrieved in falling and ranked in rising order."""
    events = processed.events()
    rows = events.rows_between(LAST_DAY, LAST_DAY)
    ranks = [int(item) - 5 if 6 <= item <= 11 else 0 for item in events.item_row[rows]]
    assert len(ranks) == 10
    expected = np.mean([rank > 0 for rank in ranks])
    assert simulated["pipeline"]["hr@10"]["value"] == pytest.approx(expected)
    assert simulated["pipeline"]["hr@10"]["n"] == 10
    assert simulated["pipeline"]["mrr"]["value"] == pytest.approx(np.mean([1 / rank if rank else 0 for rank in ranks]))
    assert simulated["retrieval"]["recall@100"]["value"] == pytest.approx(expected)
    reversed_ranks = [7 - rank if rank else 0 for rank in ranks]
    of_retrieval = np.mean([1 / rank if rank else 0 for rank in reversed_ranks])
    assert simulated["retrieval"]["mrr"]["value"] == pytest.approx(of_retrieval)
    found = [rank for rank in ranks if rank]
    assert simulated["ranking"]["auc"]["value"] == pytest.approx(np.mean([1 - (rank - 1) / 5 for rank in found]))


def test_the_filtered_result_is_over_events_outside_of_the_window_only(
    simulated: dict[str, Any], processed: Processed
) -> None:
    events = processed.events()
    outside, hits = 0, 0
    for row in events.rows_between(LAST_DAY, LAST_DAY):
        earlier = np.arange(events.offsets[events.subject[row]], row)
        seen = set(events.item_row[earlier[events.day[earlier] >= LAST_DAY - 6]].tolist())
        if events.item_row[row] not in seen:
            outside += 1
            hits += 6 <= events.item_row[row] <= 11
    assert simulated["data"]["test_events_outside_window"] == outside
    assert simulated["pipeline_filtered"]["hr@10"] == {
        **simulated["pipeline_filtered"]["hr@10"],
        "value": pytest.approx(hits / outside),
        "n": outside,
    }
    assert simulated["oracle"]["filtered"]["hr@1"]["n"] == outside


def test_an_oracle_that_knows_all_is_found_to_know_all(simulated: dict[str, Any]) -> None:
    full = simulated["oracle"]["full"]
    assert full["hr@1"]["value"] == full["ndcg@10"]["value"] == full["mrr"]["value"] == 1
    regret = simulated["regret"]["hr@10"]["value"]
    assert regret == pytest.approx(1 - simulated["pipeline"]["hr@10"]["value"])
    best = max(simulated["baselines"][name]["ndcg@10"]["value"] for name in ("popularity_all", "popularity_3d"))
    share = (simulated["pipeline"]["ndcg@10"]["value"] - best) / (1 - best)
    assert simulated["captured_share"]["ndcg@10"]["value"] == pytest.approx(share)


def test_the_report_has_the_promised_sections(simulated: dict[str, Any]) -> None:
    assert simulated["data"]["preset"] == "hard"
    assert simulated["data"]["size"] == "debug"
    assert {"events", "users", "items"} <= simulated["data"].keys()
    assert set(simulated["baselines"]) == {"popularity_all", "popularity_3d", "item_knn", "markov", "ease"}
    assert {"full", "filtered", "no_last_item", "no_context", "no_content", "cold_user"} <= simulated["oracle"].keys()
    segments = {"cold_user", "warm_user", "cold_item", "warm_item", "device_desktop", "device_mobile"}
    assert segments <= simulated["segments"].keys()
    assert {"recall@100", "recall@300", "ann_recall@12"} <= simulated["retrieval"].keys()
    for section in ("pipeline", "pipeline_filtered"):
        assert {"hr@10", "ndcg@10"} <= simulated[section].keys()
        assert all(set(figure) == METRIC_KEYS for figure in simulated[section].values())
    for section in ("captured_share", "captured_share_filtered"):
        assert set(simulated[section]) == {"hr@10", "ndcg@10"}
    assert {"precision@10", "recall@10", "f1@10", "map@10", "ndcg@10"} == simulated["next_day"]["pipeline"].keys()
    assert simulated["ranking"]["negatives"] == "the other retrieved candidates of the same query"


def test_segments_divide_the_events(simulated: dict[str, Any]) -> None:
    counts = {name: figures["hr@10"]["n"] for name, figures in simulated["segments"].items()}
    assert counts["cold_item"] + counts["warm_item"] == 10
    assert counts["device_desktop"] + counts["device_mobile"] + counts["device_tablet"] == 10
    assert (counts["cold_user"], counts["warm_user"]) == (0, 10)
    assert counts["cold_item"] == 5  # the afternoon's event of each user is on the new item


def test_the_page_shows_warnings_first_and_needs_nothing_else(simulated: dict[str, Any]) -> None:
    page = simulated["page"]
    assert page.index("the picture encoder is a stand-in") < page.index("<table>")
    assert page.count("<svg") == 5
    references = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert references == []
    assert f"{simulated['pipeline']['hr@10']['value']:.4f}" in page


def test_the_main_table_has_every_method(simulated: dict[str, Any]) -> None:
    table = main_table(simulated)
    first, second, *_ = table.splitlines()
    assert first == simulated["headline"]
    assert second == "hard debug: 140 events, 5 users, 12 items; 10 events of 2026-01-14"
    for name in ("pipeline", "popularity_all", "item_knn", "markov", "ease", "oracle", "captured share"):
        assert name in table
    assert "! the picture encoder is a stand-in" in table


def test_the_refit_is_compared_with_what_was_before(processed: Processed, bundle: Bundle, tmp_path: Path) -> None:
    before = OnlyItem(bundle), bundle
    report = evaluate(CONFIG, processed, bundle, ByRow(bundle), None, tmp_path / "a", before=before)
    alone = evaluate(CONFIG, processed, bundle, ByRow(bundle), None, tmp_path / "c")

    refit = report.values["refit"]
    assert refit is not None
    values = [refit[name]["hr@10"]["value"] for name in ("before", "after", "gain")]
    assert values[2] == pytest.approx(values[1] - values[0])
    assert "served: after" in str(report)
    assert "Before and after the refit" in (tmp_path / "a/report.html").read_text()
    assert alone.values["refit"] is None


def test_without_an_oracle_its_sections_are_null(processed: Processed, bundle: Bundle, tmp_path: Path) -> None:
    report = evaluate(CONFIG, processed, bundle, ByRow(bundle), None, tmp_path / "report").values
    assert set(report["oracle"].values()) == {None}
    assert report["captured_share"] is report["captured_share_filtered"] is report["regret"] is None
    assert report["data"]["preset"] is report["data"]["size"] is None
    assert main_table(report).splitlines()[1].startswith("tiny: 140 events")
    assert "What each signal is worth" not in (tmp_path / "report/report.html").read_text()


def test_queries_are_as_of_the_event_in_batches(processed: Processed, bundle: Bundle, tmp_path: Path) -> None:
    recommend = ByRow(bundle)
    evaluate(CONFIG, processed, bundle, recommend, None, tmp_path / "report")
    assert [len(queries) for queries in recommend.calls[:3]] == [4, 4, 2]
    first = recommend.calls[0]
    assert first.bundle_version == "v1"
    assert first.history.rows.shape == (4, 4)
    assert first.now[0] == LAST_DAY * DAY_S + DAY_S // 4
    assert first.history.age_s[0, 0] == DAY_S // 2  # two events a day, twelve hours apart
    assert (first.columns.codes[:, 0] > 0).all()  # nothing is masked


def test_the_same_seed_gives_the_same_report(processed: Processed, bundle: Bundle, tmp_path: Path) -> None:
    first, second = (
        dict(evaluate(CONFIG, processed, bundle, ByRow(bundle), None, tmp_path / name).values) for name in ("a", "b")
    )
    first.pop("timings")
    second.pop("timings")
    assert first == second


def test_degraded_answers_are_a_warning(processed: Processed, bundle: Bundle, tmp_path: Path) -> None:
    by_row = ByRow(bundle)

    def degraded(queries: QueryFeatures, *, k: int, seen: SeenMask | None) -> PipelineResult:
        result = by_row(queries, k=k, seen=seen)
        return replace(result, degraded=(("ranking",),) * len(queries))

    report = evaluate(CONFIG, processed, bundle, degraded, None, tmp_path / "report").values
    assert "10 queries of pipeline were answered without all of their parts" in report["warnings"]


def test_large_catalogues_have_no_item_to_item_baselines(processed: Processed, bundle: Bundle, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"max_item_to_item": 11})
    report = evaluate(config, processed, bundle, ByRow(bundle), None, tmp_path / "report").values
    assert report["baselines"]["ease"] is report["baselines"]["markov"] is None
    assert "no item-to-item baselines: the catalogue has more than 11 items" in report["warnings"]


def test_a_bundle_of_another_catalogue_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = open_processed(write_processed(tmp_path / "processed"))
    other.items = other.items.slice(1)
    with pytest.raises(DataError, match=r"bundle v1 and the run in .* have different catalogues"):
        evaluate(CONFIG, other, bundle, ByRow(bundle), None, tmp_path / "report")


def test_a_failing_pipeline_leaves_no_report(processed: Processed, bundle: Bundle, tmp_path: Path) -> None:
    def fail(queries: QueryFeatures, *, k: int, seen: SeenMask | None) -> PipelineResult:
        raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        evaluate(CONFIG, processed, bundle, fail, None, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.browser
def test_a_browser_shows_every_table_and_plot(simulated: dict[str, Any], page: Page) -> None:
    page.goto(simulated["address"])
    assert page.title() == "Evaluation of v1"
    for kind, least in (("section h2", 4), ("table", 4), ("section > svg", 4)):
        shown = page.locator(kind).all()
        assert len(shown) >= least, kind
        for element in shown:
            box = element.bounding_box()
            assert element.is_visible(), kind
            assert box is not None, kind
            assert min(box["width"], box["height"]) > 15, (kind, box)
    first_row = page.locator("table").first.locator("tr.ours td").all_inner_texts()
    assert first_row[0] == "pipeline"
    assert f"{simulated['pipeline']['hr@10']['value']:.4f}" in " ".join(first_row)
