"""Prepares a node of your own cluster: fills HAProxy's folder and prints the variables to export before `ray start`.

For example: eval "$(python -m ray_apps.haproxy /run/recommender)"
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts.config import load_config
from ray_apps.cluster import serve_environment
from ray_apps.console import EXIT_OK, report_error
from ray_apps.haproxy.config import HAProxyConfig
from ray_apps.haproxy.folder import fill_folder
from ray_apps.ports import FIRST, block_environment


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ray_apps.haproxy", description=__doc__)
    parser.add_argument("folder", type=Path, help="HAProxy's own, of the user who starts Ray; a short path")
    parser.add_argument("--config", type=Path, help="YAML file with settings of HAProxy")
    parser.add_argument("--first-port", type=int, default=FIRST, help="first of the 150 ports of this server")
    arguments = parser.parse_args(argv)
    try:
        config = load_config(HAProxyConfig, arguments.config) if arguments.config else HAProxyConfig()
        own = block_environment(arguments.first_port) | fill_folder(arguments.folder.absolute(), config)
    except Exception as error:
        return report_error(error)
    for name, value in serve_environment(own).items():
        print(f"export {name}={shlex.quote(value)}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
