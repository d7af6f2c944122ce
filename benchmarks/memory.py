"""Measures the peak memory of the jobs: for a shop with one user of 100,000 events, and one without such a user.

Both shops are random: realistic in size, without patterns. Every job is a process, as on the command line; its memory
is the proportional set size (PSS) of its process tree, including Ray.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.common import Figure, parser, report
from benchmarks.peak_memory import PeakMemory
from benchmarks.random_tables import write_tables

NUM_DAYS: Final = 7
NUM_USERS: Final = 2_000
JOBS: Final = ("preprocess", "embed", "train_two_tower", "train_ranker", "build_index", "evaluate")
_REPORTED: Final = ("preprocess", "train_two_tower", "train_ranker", "evaluate")
_SAMPLE_S: Final = 0.1


def peak_megabytes(job: str, raw_dir: Path, var_dir: Path) -> float:
    """Peak PSS of a job and all processes below it, megabytes.

    Raises:
        RuntimeError: the job failed; its output is in the message.
    """
    command = [sys.executable, "-m", f"ray_apps.jobs.{job}", "--config", "configs/jobs/debug.yaml"]
    command += [f"raw_dir={raw_dir}", f"var_dir={var_dir}", "shop=memory"]
    log = var_dir.with_suffix(".log")
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ)
        memory = PeakMemory(process.pid, _SAMPLE_S)
        process.wait()
        peak = memory.stop()
    if process.returncode:
        raise RuntimeError(f"{job} ended with {process.returncode}: {log.read_text(encoding='utf-8')[-2_000:]}")
    return peak / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the jobs of both shops in turns and prints the peaks."""
    arguments = _arguments(argv)
    shops = {"heavy user": arguments.share, "flat": 0.0}
    peaks: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, share in shops.items():
            raw_dir = Path(folder) / f"raw {name}"
            write_tables(
                raw_dir, num_events=arguments.events, num_days=NUM_DAYS, num_users=NUM_USERS, heavy_share=share
            )
        for job in JOBS:
            for name in shops:
                peak = peak_megabytes(job, Path(folder) / f"raw {name}", Path(folder) / f"var {name}")
                if job in _REPORTED:
                    peaks[f"{job}, {name}"] = Figure(peak, "MB")
    report(peaks, arguments.json)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    arguments = parser("memory", (__doc__ or "").partition("\n")[0])
    arguments.add_argument("--events", type=int, help="interactions of each shop (150,000; quick: 10,000)")
    arguments.add_argument("--share", type=float, default=2 / 3, help="of them, the heavy user's (2/3)")
    given = arguments.parse_args(argv)
    if given.events is None:
        given.events = 10_000 if given.quick else 150_000
    return given


if __name__ == "__main__":
    sys.exit(main())
