"""Measures preprocessing of the same interactions in many daily partitions and in few.

Both shops are drawn at random: nothing to learn, all sizes right. They are preprocessed in turns, so that what else the
machine does falls on both. Seconds, peak memory of all processes of the run, and the ratio of many to few are reported.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from benchmarks.common import Figure, parser, report, spread
from contracts.clock import DAY_S, day_to_name
from training.features.config import PreprocessConfig
from training.features.preprocess import preprocess

FIRST_DAY: Final = 17_532  # 2018-01-01
FEW_DAYS: Final = 14
NUM_ITEMS: Final = 2_465
_POLL_S: Final = 0.2


def write_shop(folder: Path, num_events: int, num_days: int, rng: np.random.Generator) -> None:
    """Writes raw tables whose interactions lie in so many daily partitions, a file each."""
    num_users = max(10, num_events // 10)
    users, items = [f"user-{number}" for number in range(num_users)], [f"item-{n}" for n in range(NUM_ITEMS)]
    _write(folder / "users", {"user_id": users, "age": 20.0 + np.arange(num_users) % 50})
    _write(folder / "items", {"item_id": items, "category_l1": [f"category-{n % 20}" for n in range(NUM_ITEMS)]})
    for number, rows in enumerate(np.array_split(np.arange(num_events), num_days)):
        size, day = len(rows), FIRST_DAY + number
        columns = {
            "user_id": pa.array(users).take(pa.array(rng.integers(0, num_users, size))),
            "item_id": pa.array(items).take(pa.array(rng.integers(0, NUM_ITEMS, size))),
            "timestamp": day * DAY_S + np.sort(rng.integers(0, DAY_S, size)),
            "device_type": ["mobile"] * size,
        }
        _write(folder / "interactions" / f"day={day_to_name(day)}", columns)


def measure(raw_dir: Path, out_dir: Path) -> tuple[float, float]:
    """Seconds and peak megabytes, without what processes share, of one run of preprocessing."""
    stop, peak = threading.Event(), [0.0]

    def watch() -> None:
        while not stop.wait(_POLL_S):
            peak[0] = max(peak[0], _own_megabytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    preprocess(PreprocessConfig(), raw_dir, out_dir, shop="benchmark")
    seconds = time.perf_counter() - started
    stop.set()
    watcher.join()
    return seconds, peak[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Writes both shops, preprocesses them in turns and prints the figures."""
    arguments = _arguments(argv)
    days = {"many": arguments.days, "few": FEW_DAYS}
    seconds: dict[str, list[float]] = {name: [] for name in days}
    megabytes: dict[str, list[float]] = {name: [] for name in days}
    ray.init(num_cpus=arguments.cpus, log_to_driver=False, include_dashboard=False)
    with tempfile.TemporaryDirectory() as folder:
        for name, num_days in days.items():
            write_shop(Path(folder) / name, arguments.events, num_days, np.random.default_rng(0))
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


def _write(folder: Path, columns: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


def _own_megabytes() -> float:
    total = 0
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        try:
            memory = process.memory_info()
        except psutil.NoSuchProcess:
            continue
        total += memory.rss - memory.shared
    return total / 1e6


if __name__ == "__main__":
    sys.exit(main())
