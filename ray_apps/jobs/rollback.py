"""Makes the previous production bundle the production one again."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from contracts.registry import Registry
from ray_apps.console import say
from ray_apps.jobs.cli import run_command
from ray_apps.jobs.workspace import Workspace
from ray_apps.promotion import Promotions

NAME = "rollback"


def roll_back(workspace: Workspace) -> None:
    """Undoes the last promotion and prints the version."""
    entry = Promotions(Registry.open(workspace.bundles), workspace.audit_file).roll_back(
        "asked for on the command line"
    )
    say(NAME, f"{entry.version} is in production again, instead of {entry.previous}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return run_command(NAME, __doc__ or "", roll_back, argv)


if __name__ == "__main__":
    sys.exit(main())
