"""Quality of the demo's bundle: the report's main figures beside baselines and the oracle.

Another seed or another draw of the shop changes every figure. So the main job runs with each seed on each draw; a
figure is the mean over the runs, with the lowest and the highest. Finished jobs below `var/quality/` are reused.

With `--declared COLUMN` it measures the gain by a declared column of items instead: every run is made without and with
the column on the same tables, and HR@10 is compared event by event.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean, stdev
from typing import Any, Final

import numpy as np

from benchmarks.common import Figure, parser, report
from benchmarks.shop import ROOT, START_DATE
from contracts.bundle import open_bundle
from contracts.errors import DataError
from contracts.ids import BoolArray, IntArray
from ray_apps.jobs import build_index, evaluate, preprocess
from ray_apps.jobs.config import load_job_config
from ray_apps.jobs.pipeline import JOBS, run_pipeline
from ray_apps.jobs.workspace import Job, Workspace
from ray_apps.lock import JOBS_LOCK, folder_lock
from serving.running.recommend import local_recommend
from training.evaluation import metrics
from training.evaluation.bootstrap import Estimate, UserBootstrap
from training.evaluation.runs import run_pipeline as rank_test_day
from training.evaluation.test_day import test_day
from training.features.processed import open_processed

CUTS: Final = ("hr@10", "ndcg@10")
FOLDER: Final = ROOT / "var" / "quality"
_REPLICATES: Final = 1_000


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    options = parser("quality", __doc__ or "")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training")
    options.add_argument("--draws", type=int, nargs="+", default=[0, 1], help="seeds of the simulated shop")
    options.add_argument("--declared", metavar="COLUMN", help="what this categorical column of items is worth")
    options.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the config file's")
    arguments = options.parse_args(argv)
    size = "debug" if arguments.quick else "demo"
    if arguments.declared is not None:
        found = worth_of(arguments.declared, size, arguments.draws, arguments.seeds, arguments.overrides)
        return report(found, arguments.json)
    runs = []
    for draw, seed in product(arguments.draws, arguments.seeds):
        runs.append(figures_of(run(size, draw, seed, arguments.overrides)))
        print(f"draw {draw}, seed {seed}: {runs[-1]}", flush=True)
    return report(over_runs(runs), arguments.json)


def run(size: str, draw: int, seed: int, overrides: Sequence[str]) -> Mapping[str, Any]:
    """The report of a run; runs the main job until the report."""
    workspace = finished(size, draw, seed, overrides, evaluate.JOB)
    content = (workspace.output(evaluate.JOB) / "report.json").read_text(encoding="utf-8")
    return dict(json.loads(content))


def finished(size: str, draw: int, seed: int, overrides: Sequence[str], last: Job) -> Workspace:
    """The workspace of a run of the main job, up to and including a job."""
    settings = [f"var_dir={FOLDER / size}", f"seed={seed}", f"simulator.seed={draw}"]
    settings += [f"simulator.start_date={START_DATE}", *overrides]
    workspace = Workspace(load_job_config(ROOT / "configs" / "jobs" / f"{size}.yaml", settings))
    with folder_lock(workspace.root / JOBS_LOCK, "benchmark"):
        run_pipeline(workspace, JOBS[: JOBS.index(last) + 1])
    return workspace


@dataclass(frozen=True)
class Hits:
    """The events of one test day, and a bundle's hits.

    Attributes:
        event_ids: [Q].
        subject: rows of the subjects [Q].
        cold_item: whether the event's item was launched within three days [Q].
        hit: 1 where the item is among the first ten, else 0 [Q].
    """

    event_ids: tuple[str, ...]
    subject: IntArray
    cold_item: BoolArray
    hit: metrics.Values


def hits_of(workspace: Workspace) -> Hits:
    """Recommends for the events of the test day, seen filter off."""
    processed, bundle = open_processed(workspace.output(preprocess.JOB)), open_bundle(workspace.output(build_index.JOB))
    config = workspace.config.evaluation
    day = test_day(processed.events(), processed.info.last_day, np.asarray(bundle.items.launched_at), config)
    ranked = rank_test_day(local_recommend(bundle), bundle, processed, day, config, filtered=False).ranked
    single = day.single
    return Hits(
        event_ids=tuple(processed.event_ids()[day.rows[single]]),
        subject=day.subject[single],
        cold_item=day.cold_item[single],
        hit=metrics.hit_rate(ranked.rank[single], 10),
    )


def worth_of(
    column: str, size: str, draws: Sequence[int], seeds: Sequence[int], overrides: Sequence[str]
) -> dict[str, Figure]:
    """HR@10 without and with a declared column, and the difference, over the events of all draws.

    An event's hit is its mean over the seeds; intervals are by bootstrap over users, who are different in each draw.

    Args:
        column: a column of items.
        size: `debug` or `demo`.
        draws: seeds of the simulated shop.
        seeds: of training.
        overrides: settings of both runs.

    Raises:
        DataError: the two runs have other test events.
    """
    declaration = f"features.columns=[{{name: {column}, side: item, kind: categorical, filter: true, answer: true}}]"
    days = []
    for draw in draws:
        pairs = []
        for seed in seeds:
            settings = (overrides, [*overrides, declaration])
            without, declared = (hits_of(finished(size, draw, seed, given, build_index.JOB)) for given in settings)
            print(f"draw {draw}, seed {seed}: {without.hit.mean():.4f}, {declared.hit.mean():.4f}", flush=True)
            pairs.append((without, declared))
        days.append(pairs)
    return gain(days)


def gain(days: Sequence[Sequence[tuple[Hits, Hits]]]) -> dict[str, Figure]:
    """The figures of `worth_of` from pairs of outcomes by draw and seed.

    Raises:
        DataError: the outcomes of a draw have different events.
    """
    means, users, cold = [], [], []
    for draw, pairs in enumerate(days):
        first = pairs[0][0]
        if any(one.event_ids != first.event_ids for pair in pairs for one in pair):
            raise DataError("two runs of one draw have other test events; compare runs over the same tables")
        means.append(np.mean([[one.hit for one in pair] for pair in pairs], axis=0))
        users.append(first.subject.astype(np.int64) * len(days) + draw)
        cold.append(first.cold_item)
    without, declared = np.concatenate(means, axis=1)
    bootstrap, is_cold = UserBootstrap(np.concatenate(users), _REPLICATES, 0), np.concatenate(cold)
    figures = {}
    for name, where in (("hr@10", np.ones_like(is_cold)), ("hr@10_cold_item", is_cold)):
        found = bootstrap.means([without, declared, declared - without], where)
        for kind, estimate in zip(("without", "declared", "gain"), found, strict=True):
            figures[f"{name}_{kind}"] = _figure(estimate)
    return figures


def _figure(estimate: Estimate) -> Figure:
    return Figure(estimate.value, "share", estimate.low, estimate.high, None if estimate.n else "no such events")


def figures_of(values: Mapping[str, Any]) -> dict[str, float | None]:
    """The main figures of a report; None if there were too few events."""
    methods = {"pipeline": values["pipeline"], **values["baselines"], "oracle": values["oracle"]["full"]}
    figures = {f"{name}_{cut}": found[cut]["value"] for name, found in methods.items() for cut in CUTS}
    figures |= {f"captured_share_{cut}": values["captured_share"][cut]["value"] for cut in CUTS}
    figures |= {f"retrieval_{cut}": values["retrieval"][cut]["value"] for cut in ("recall@100", "recall@300")}
    figures["oracle_recall@300"] = values["oracle"]["full"]["recall@300"]["value"]
    figures["pipeline_hr@10_cold_item"] = values["segments"]["cold_item"]["hr@10"]["value"]
    return figures


def over_runs(runs: Sequence[Mapping[str, float | None]]) -> dict[str, Figure]:
    """Mean, lowest and highest value of each figure over the runs, and its standard deviation."""
    figures: dict[str, Figure] = {}
    for name in runs[0]:
        found = [value for one in runs if (value := one[name]) is not None]
        if len(found) < len(runs):
            figures[name] = Figure(None, "share", reason=f"{len(runs) - len(found)} of {len(runs)} runs have no value")
            continue
        figures[name] = Figure(mean(found), "share", min(found), max(found))
        if len(found) > 1:
            figures[f"{name}_std"] = Figure(stdev(found), "share")
    return figures


if __name__ == "__main__":
    main()
