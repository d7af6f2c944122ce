"""Measures the speed of training beside other load, for several ways in which its threads wait for each other.

A spinning thread reacts at once, but occupies a core that another thread may need; a sleeping one must be woken; with
no more threads than free cores, none waits long. For each way a process trains both models of `benchmarks.training` in
turn, alone and beside a process that keeps one core busy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import torch

from benchmarks.common import Figure, parser, report, spread
from benchmarks.shop import ROOT
from benchmarks.training import (
    BATCH,
    NUM_NEGATIVES,
    REFERENCE_TOWERS,
    SCORED_ROWS,
    THREADS,
    Step,
    dlrm_task,
    ours,
    take_turns,
    two_tower_task,
)
from benchmarks.training_data import QUICK, REFERENCE, random_shop
from contracts.cores import ThreadsByLoad
from training.trainers.steps.loop import keep_freed_memory

BY_LOAD: Final = "by_load"
FIXED: Final = "fixed"
WAITS: Final = (BY_LOAD, FIXED, "spin_0", "spin_1000", "spin_10000", "spin_100000")
"""Threads by load, as in the trainers; or a fixed number, with OpenMP's default spinning or another."""
SPIN: Final = "spin_"
SPIN_COUNT: Final = "GOMP_SPINCOUNT"
MODELS: Final = ("two_tower", "dlrm")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    options = parser("waiting", __doc__ or "")
    options.add_argument("--waits", nargs="+", default=WAITS, help=f"{BY_LOAD}, {FIXED}, or {SPIN}N: GOMP_SPINCOUNT=N")
    options.add_argument("--rounds", type=int, default=3, help="turns of every way, alone and beside")
    options.add_argument("--seconds", type=float, default=2.0, help="of each model in a turn")
    options.add_argument("--measure", metavar="WAIT", help="what the processes are started with")
    arguments = options.parse_args(argv)
    if arguments.measure:
        measure(arguments.measure, arguments.seconds, quick=arguments.quick)
        return
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for wait in arguments.waits:
            with trainer(wait, arguments.seconds, quick=arguments.quick) as process:
                for where in ("alone", "beside"):
                    for name, rate in turn(process, busy=where == "beside").items():
                        rates[f"{name}_{wait}_{where}"].append(rate)
                        print(f"{name} {wait} {where}: {rate:,.0f} rows/s", flush=True)
    report({name: spread(found, "rows/s") for name, found in rates.items()} | shares(rates), arguments.json)


def shares(rates: dict[str, list[float]]) -> dict[str, Figure]:
    """Each rate relative to that of the same model alone with a fixed number of threads, by turn."""
    found = {}
    for model in MODELS:
        alone = rates.get(f"{model}_{FIXED}_alone", [])
        for name, values in rates.items():
            if alone and name.startswith(f"{model}_"):
                pairs = zip(values, alone, strict=True)
                found[f"{name}_share"] = spread([value / whole for value, whole in pairs], "times")
    return found


def measure(wait: str, seconds: float, *, quick: bool) -> None:
    """Trains one turn per line of standard input, and prints its rates as a line of JSON."""
    threads = ThreadsByLoad(THREADS, torch.set_num_threads, fixed=wait != BY_LOAD)
    keep_freed_memory()
    data = random_shop(QUICK if quick else REFERENCE)
    scored = NUM_NEGATIVES + 1
    two_tower = ours(two_tower_task(data, REFERENCE_TOWERS), BATCH, 1)
    dlrm = ours(dlrm_task(data), SCORED_ROWS // scored, scored)

    def following(step: Step) -> Step:
        def follow_and_step() -> int:
            threads.follow()
            return step()

        return follow_and_step

    steps = dict(zip(MODELS, (following(two_tower), following(dlrm)), strict=True))
    take_turns(steps, 0, seconds)
    for _ in sys.stdin:
        print(json.dumps({name: rates[0] for name, rates in take_turns(steps, 1, seconds).items()}), flush=True)


@contextmanager
def trainer(wait: str, seconds: float, *, quick: bool) -> Iterator[subprocess.Popen[str]]:
    """A training process with one way to wait."""
    environment = {name: value for name, value in os.environ.items() if name != SPIN_COUNT}
    if wait.startswith(SPIN):
        environment[SPIN_COUNT] = wait.removeprefix(SPIN)
    command = [sys.executable, "-m", "benchmarks.waiting", "--measure", wait, "--seconds", str(seconds)]
    with subprocess.Popen(
        command + ["--quick"] * quick,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def turn(process: subprocess.Popen[str], *, busy: bool) -> dict[str, float]:
    """Rows per second of each model, optionally beside a process that keeps one core busy."""
    assert process.stdin is not None
    assert process.stdout is not None
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        time.sleep(0.5 if busy else 0.0)
        process.stdin.write("turn\n")
        process.stdin.flush()
        return dict(json.loads(process.stdout.readline()))
    finally:
        if neighbour is not None:
            neighbour.kill()
            neighbour.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
