"""Evaluates the bundle on the held-out days: the whole pipeline, baselines and, for simulated shops, the oracle."""

from __future__ import annotations

import sys
from pathlib import Path

from contracts.bundle import open_bundle
from contracts.records import shop_records
from ray_apps.jobs import build_before, build_index, preprocess, simulate
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace
from serving.running.recommend import local_recommend
from training.evaluation import evaluate
from training.evaluation.page import number
from training.features.processed import open_processed
from training.simulator import Oracle
from training.simulator.truth import TRUTH


def run(workspace: Workspace, report_dir: Path) -> str:
    """Writes the report."""
    bundle, before = open_bundle(workspace.output(build_index.JOB)), None
    if build_before.JOB.applies(workspace.config):
        unrefit = open_bundle(workspace.output(build_before.JOB))
        before = local_recommend(unrefit), unrefit
    raw_dir = workspace.output(simulate.JOB)
    report = evaluate(
        workspace.config.evaluation,
        open_processed(workspace.output(preprocess.JOB)),
        bundle,
        local_recommend(bundle),
        Oracle.open(raw_dir) if (raw_dir / TRUTH).is_dir() else None,
        report_dir,
        shop_records(workspace.config.stores.records_dir, workspace.config.shop),
        before,
    )
    return f"HR@10 {number(report.values['pipeline']['hr@10']['value'])}, {report_dir / 'report.html'}"


JOB = Job(
    name="evaluate",
    purpose="Judges the bundle on the held-out days and writes report.json and report.html.",
    sections=("evaluation",),
    inputs=(simulate.JOB, preprocess.JOB, build_index.JOB, build_before.JOB),
    run=run,
    place=lambda workspace, _identity: f"reports/{workspace.output(build_index.JOB).name}",
)

if __name__ == "__main__":
    sys.exit(main(JOB))
