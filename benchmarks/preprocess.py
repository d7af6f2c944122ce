"""Measures preprocessing of the same interactions in many daily partitions and in few.

Both shops are random: realistic in size, without patterns. They are preprocessed in turns, so that other load of the
machine affects both. It reports seconds, peak memory of all processes, and the ratio of many to few.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import ray

from benchmarks.common import Figure, parser, report, spread
from benchmarks.peak_memory import PeakMemory
from benchmarks.random_tables import write_tables
from training.features.config import PreprocessConfig
from training.features.preprocess import preprocess

FEW_DAYS: Final = 14
_SAMPLE_S: Final = 0.2


def measure(raw_dir: Path, out_dir: Path) -> tuple[float, float]:
    """Seconds and peak megabytes (PSS of all processes) of one run of preprocessing."""
    memory, started = PeakMemory(os.getpid(), _SAMPLE_S), time.perf_counter()
    preprocess(PreprocessConfig(), raw_dir, out_dir, shop="benchmark")
    return time.perf_counter() - started, memory.stop() / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Writes both shops, preprocesses them in turns and prints the figures."""
    arguments = _arguments(argv)
    days = {"many": arguments.days, "few": FEW_DAYS}
    seconds: dict[str, list[float]] = {name: [] for name in days}
    megabytes: dict[str, list[float]] = {name: [] for name in days}
    ray.init(num_cpus=arguments.cpus, log_to_driver=False, include_dashboard=False)
    with tempfile.TemporaryDirectory() as folder:
        for name, num_days in days.items():
            write_tables(
                Path(folder) / name,
                num_events=arguments.events,
                num_days=num_days,
                num_users=max(10, arguments.events // 10),
            )
        measure(Path(folder) / "few", Path(folder) / "out")  # starts Ray's workers
        for _ in range(arguments.rounds):
            for name in days:
                took, peak = measure(Path(folder) / name, Path(folder) / "out")
                seconds[name].append(took)
                megabytes[name].append(peak)
    ray.shutdown()
    figures: dict[str, Figure] = {}
    for name, num_days in days.items():
        figures[f"{num_days} days: time"] = spread(seconds[name], "s")
        figures[f"{num_days} days: peak memory"] = spread(megabytes[name], "MB")
    for what, values in (("time", seconds), ("memory", megabytes)):
        ratios = [many / few for many, few in zip(values["many"], values["few"], strict=True)]
        figures[f"{what}, many to few"] = spread(ratios, "x")
    report(figures, arguments.json)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    arguments = parser("preprocess", (__doc__ or "").partition("\n")[0])
    arguments.add_argument("--events", type=int, help="interactions (1,000,000; quick: 20,000)")
    arguments.add_argument("--days", type=int, help="daily partitions of the larger shop (2,277; quick: 100)")
    arguments.add_argument("--rounds", type=int, help="runs of each shop (3; quick: 1)")
    arguments.add_argument("--cpus", type=int, default=2, help="CPUs for Ray (2)")
    given = arguments.parse_args(argv)
    defaults = {"events": (1_000_000, 20_000), "days": (2_277, 100), "rounds": (3, 1)}
    for name, (usual, quick) in defaults.items():
        if getattr(given, name) is None:
            setattr(given, name, quick if given.quick else usual)
    return given


if __name__ == "__main__":
    sys.exit(main())
