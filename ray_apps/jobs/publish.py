"""Makes the bundle the production one in the registry."""

from __future__ import annotations

import sys
from pathlib import Path

from contracts.bundle import open_bundle
from contracts.registry import Registry
from ray_apps.jobs import build_index
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace
from ray_apps.promotion import Promotions, check_servable


def run(workspace: Workspace, _: Path) -> str:
    """Promotes the bundle unless it is in production."""
    version = workspace.output(build_index.JOB).name
    registry = Registry.open(workspace.bundles)
    if registry.production() == version:
        return f"{version} is in production (reused)"
    check_servable(open_bundle(workspace.bundles / version))
    Promotions(registry, workspace.audit_file).promote(version, reason="built by the main job")
    return f"{version} is in production now"


JOB = Job(
    name="publish",
    purpose="Makes the bundle the production one in the registry.",
    sections=(),
    inputs=(build_index.JOB,),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
