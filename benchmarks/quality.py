"""Quality of the demo's bundle: the report's main figures beside baselines and the best that is possible.

Builds what is missing below `var/` with the demo's config, as `make demo` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import Figure, parse, report
from ray_apps.jobs import evaluate
from ray_apps.jobs.config import load_job_config
from ray_apps.jobs.pipeline import JOBS, run_pipeline
from ray_apps.jobs.workspace import Workspace
from ray_apps.lock import JOBS_LOCK, folder_lock

CONFIGS = Path(__file__).parents[1] / "configs" / "jobs"
CUTS = ("hr@10", "ndcg@10")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = parse("quality", __doc__ or "", argv)
    config = load_job_config(CONFIGS / ("debug.yaml" if arguments.quick else "demo.yaml"))
    workspace = Workspace(config)
    with folder_lock(workspace.root / JOBS_LOCK, "benchmark"):
        run_pipeline(workspace, JOBS[: JOBS.index(evaluate.JOB) + 1])
    values = json.loads((workspace.output(evaluate.JOB) / "report.json").read_text(encoding="utf-8"))
    report(figures_of(values), arguments.json)


def figures_of(values: Mapping[str, Any]) -> dict[str, Figure]:
    """The main figures of a report."""
    methods = {"pipeline": values["pipeline"], **values["baselines"], "oracle": values["oracle"]["full"]}
    figures = {f"{name}_{cut}": _figure(found[cut]) for name, found in methods.items() for cut in CUTS}
    figures |= {f"captured_share_{cut}": _figure(values["captured_share"][cut]) for cut in CUTS}
    figures |= {f"retrieval_{cut}": _figure(values["retrieval"][cut]) for cut in ("recall@100", "recall@300")}
    figures["oracle_recall@300"] = _figure(values["oracle"]["full"]["recall@300"])
    figures["pipeline_hr@10_cold_item"] = _figure(values["segments"]["cold_item"]["hr@10"])
    return figures


def _figure(found: Mapping[str, Any]) -> Figure:
    reason = "too few events" if found["value"] is None else None
    return Figure(found["value"], "share", found["low"], found["high"], reason)


if __name__ == "__main__":
    main()
