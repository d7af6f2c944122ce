"""Measures the peak memory of the jobs: a shop with one user of 100,000 events beside a flat one of as many events.

Both shops are drawn at random: nothing to learn, all sizes right. Every job is a process of its own, as on the command
line; its memory is the proportional set size (PSS) of that process and all that it starts, Ray's included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import Figure, parser, report
from contracts.clock import DAY_S, day_to_name

FIRST_DAY: Final = 20_089  # 2025-01-01
NUM_DAYS: Final = 7
NUM_USERS: Final = 2_000
NUM_ITEMS: Final = 2_465
JOBS: Final = ("preprocess", "embed", "train_two_tower", "train_dlrm", "build_index", "evaluate")
_REPORTED: Final = ("preprocess", "train_two_tower", "train_dlrm", "evaluate")
_POLL_S: Final = 0.1


def write_shop(folder: Path, num_events: int, heavy_share: float, rng: np.random.Generator) -> None:
    """Writes raw tables in which the first user has a share of the events, and the others the rest alike."""
    users, items = [f"user-{number}" for number in range(NUM_USERS)], [f"item-{n}" for n in range(NUM_ITEMS)]
    _write(folder / "users", {"user_id": users, "age": 20.0 + np.arange(NUM_USERS) % 50})
    categories = [f"category-{number % 200}" for number in range(NUM_ITEMS)]
    _write(folder / "items", {"item_id": items, "title": items, "category_l1": categories})
    for number, rows in enumerate(np.array_split(np.arange(num_events), NUM_DAYS)):
        day, size = FIRST_DAY + number, len(rows)
        is_heavy = rng.random(size) < heavy_share
        columns = {
            "user_id": pa.array(users).take(pa.array(np.where(is_heavy, 0, rng.integers(0, NUM_USERS, size)))),
            "item_id": pa.array(items).take(pa.array(rng.integers(0, NUM_ITEMS, size))),
            "timestamp": day * DAY_S + np.sort(rng.integers(0, DAY_S, size)),
            "device_type": ["mobile"] * size,
            "event": ["click"] * size,
        }
        _write(folder / "interactions" / f"day={day_to_name(day)}", columns)


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
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _tree_megabytes(process.pid))
            time.sleep(_POLL_S)
    if process.returncode:
        raise RuntimeError(f"{job} ended with {process.returncode}: {log.read_text(encoding='utf-8')[-2_000:]}")
    return peak


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the jobs of both shops in turns and prints the peaks."""
    arguments = _arguments(argv)
    shops = {"heavy user": arguments.share, "flat": 0.0}
    peaks: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, share in shops.items():
            write_shop(Path(folder) / f"raw {name}", arguments.events, share, np.random.default_rng(0))
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


def _write(folder: Path, columns: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


def _tree_megabytes(pid: int) -> float:
    total = 0.0
    try:
        own = psutil.Process(pid)
        processes = [own, *own.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
            continue
    return total / 1e6


if __name__ == "__main__":
    sys.exit(main())
