"""Simulates a shop whose best ranking is known: users, items, pictures, interactions, impressions."""

from __future__ import annotations

import sys
from pathlib import Path

from contracts.errors import ConfigError
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.simulator import simulate


def run(workspace: Workspace, raw_dir: Path) -> str:
    """Writes the raw tables."""
    if workspace.config.simulator is None:
        raise ConfigError("simulator is null: give the section, for example simulator.size=debug")
    shop = simulate(workspace.config.simulator, raw_dir)
    return (
        f"{shop.num_events:,} interactions of {shop.num_users:,} users with {shop.num_items:,} items, "
        f"{shop.first_day} to {shop.last_day} ({shop.preset}, {shop.size})"
    )


def place(workspace: Workspace, identity: str) -> str:
    """The config's raw_dir, otherwise a folder below var."""
    given = workspace.config.raw_dir
    return str(given.resolve()) if given is not None else fingerprint_folder("raw")(workspace, identity)


def given_tables(workspace: Workspace) -> list[Path]:
    """The shop's own catalogue and users, if the simulator is given some."""
    config = workspace.config.simulator
    given = () if config is None else (config.items_path, config.users_path)
    return [path for path in given if path is not None]


JOB = Job(
    name="simulate",
    purpose="Simulates a shop whose best ranking is known; writes raw tables to raw_dir, or below var_dir/raw.",
    sections=("simulator",),
    inputs=(),
    run=run,
    place=place,
    files=given_tables,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
