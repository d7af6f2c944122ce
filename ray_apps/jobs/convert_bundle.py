"""Converts a bundle of the previous layout; its models stay as they are.

python -m ray_apps.jobs.convert_bundle var/bundles/shop-20260101-… var/bundles/shop-20260101-…-converted
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import RecommenderError
from contracts.files import private_process
from ray_apps.console import EXIT_OK, report_error, say
from training.bundle_conversion import convert_bundle

NAME = "convert_bundle"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m ray_apps.jobs.{NAME}", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path, help="folder of the bundle")
    parser.add_argument("target", type=Path, help="folder to write; its name is the new bundle's version")
    arguments = parser.parse_args(argv)
    private_process()
    try:
        manifest = convert_bundle(arguments.source, arguments.target)
    except RecommenderError as error:
        return report_error(error)
    say(NAME, f"{manifest.version}: {manifest.num_items:,} items, {len(manifest.files)} files in {arguments.target}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
