"""Quality of the demo's bundle: the report's main figures beside baselines and the best that is possible.

A single run says little: another seed or another draw of the shop moves every figure. So the main job runs with each
seed on each draw, and a figure is the mean over the runs, with the lowest and the highest. What is missing below
`var/quality/` is built; finished jobs are reused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import mean, stdev
from typing import Any, Final

from benchmarks.common import Figure, parser, report
from benchmarks.shop import ROOT, START_DATE
from ray_apps.jobs import evaluate
from ray_apps.jobs.config import load_job_config
from ray_apps.jobs.pipeline import JOBS, run_pipeline
from ray_apps.jobs.workspace import Workspace
from ray_apps.lock import JOBS_LOCK, folder_lock

CUTS: Final = ("hr@10", "ndcg@10")
FOLDER: Final = ROOT / "var" / "quality"


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    options = parser("quality", __doc__ or "")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training")
    options.add_argument("--draws", type=int, nargs="+", default=[0, 1], help="seeds of the simulated shop")
    options.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the config file's")
    arguments = options.parse_args(argv)
    size = "debug" if arguments.quick else "demo"
    runs = []
    for draw, seed in product(arguments.draws, arguments.seeds):
        runs.append(figures_of(run(size, draw, seed, arguments.overrides)))
        print(f"draw {draw}, seed {seed}: {runs[-1]}", flush=True)
    report(over_runs(runs), arguments.json)


def run(size: str, draw: int, seed: int, overrides: Sequence[str]) -> Mapping[str, Any]:
    """The report of one run of the main job up to it."""
    settings = [f"var_dir={FOLDER / size}", f"seed={seed}", f"simulator.seed={draw}"]
    settings += [f"simulator.start_date={START_DATE}", *overrides]
    workspace = Workspace(load_job_config(ROOT / "configs" / "jobs" / f"{size}.yaml", settings))
    with folder_lock(workspace.root / JOBS_LOCK, "benchmark"):
        run_pipeline(workspace, JOBS[: JOBS.index(evaluate.JOB) + 1])
    content = (workspace.output(evaluate.JOB) / "report.json").read_text(encoding="utf-8")
    return dict(json.loads(content))


def figures_of(values: Mapping[str, Any]) -> dict[str, float | None]:
    """The main figures of a report; None where there were too few events."""
    methods = {"pipeline": values["pipeline"], **values["baselines"], "oracle": values["oracle"]["full"]}
    figures = {f"{name}_{cut}": found[cut]["value"] for name, found in methods.items() for cut in CUTS}
    figures |= {f"captured_share_{cut}": values["captured_share"][cut]["value"] for cut in CUTS}
    figures |= {f"retrieval_{cut}": values["retrieval"][cut]["value"] for cut in ("recall@100", "recall@300")}
    figures["oracle_recall@300"] = values["oracle"]["full"]["recall@300"]["value"]
    figures["pipeline_hr@10_cold_item"] = values["segments"]["cold_item"]["hr@10"]["value"]
    return figures


def over_runs(runs: Sequence[Mapping[str, float | None]]) -> dict[str, Figure]:
    """Of each figure the mean over the runs with the lowest and the highest, and its standard deviation."""
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
