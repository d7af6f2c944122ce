"""Measures how training gets on beside other work, by how long OpenMP's threads spin before they sleep.

Threads of one operation wait for each other. A thread that spins notices at once, but keeps a core that the thread it
waits for may need; one that sleeps must be woken. For each setting a process trains both models of
`benchmarks.training` in turn, alone and beside a neighbour that keeps one core busy.
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
    dlrm_task,
    ours,
    take_turns,
    two_tower_task,
)
from benchmarks.training_data import QUICK, REFERENCE, random_shop
from training.trainers.loop import keep_freed_memory

SPINS: Final = ("default", "0", "1000", "10000", "30000", "100000")
SPIN_COUNT: Final = "GOMP_SPINCOUNT"


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    options = parser("waiting", __doc__ or "")
    options.add_argument("--spins", nargs="+", default=SPINS, help="values of GOMP_SPINCOUNT; default = unset")
    options.add_argument("--rounds", type=int, default=3, help="turns of every setting, alone and beside")
    options.add_argument("--seconds", type=float, default=2.0, help="of each model in a turn")
    options.add_argument("--measure", action="store_true", help="what the processes are started with")
    arguments = options.parse_args(argv)
    if arguments.measure:
        measure(arguments.seconds, quick=arguments.quick)
        return
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for spin in arguments.spins:
            with trainer(spin, arguments.seconds, quick=arguments.quick) as process:
                for where in ("alone", "beside"):
                    for name, rate in turn(process, busy=where == "beside").items():
                        rates[f"{name}_{where}_spin_{spin}"].append(rate)
                        print(f"{name} {where} spin {spin}: {rate:,.0f} rows/s", flush=True)
    report({name: spread(found, "rows/s") for name, found in rates.items()} | shares(rates), arguments.json)


def shares(rates: dict[str, list[float]]) -> dict[str, Figure]:
    """Each rate by the one of the same model alone with the default, turn by turn."""
    found = {}
    for name, values in rates.items():
        alone = rates.get(f"{name.partition('_spin_')[0].rsplit('_', 1)[0]}_alone_spin_default")
        if alone is not None:
            found[f"{name}_share"] = spread(
                [value / whole for value, whole in zip(values, alone, strict=True)], "times"
            )
    return found


def measure(seconds: float, *, quick: bool) -> None:
    """Trains for as long as standard input asks: a line asks for a turn, whose rates are a line of JSON."""
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    data = random_shop(QUICK if quick else REFERENCE)
    scored = NUM_NEGATIVES + 1
    steps = {
        "two_tower": ours(two_tower_task(data, REFERENCE_TOWERS), BATCH, 1),
        "dlrm": ours(dlrm_task(data), SCORED_ROWS // scored, scored),
    }
    take_turns(steps, 0, seconds)
    for _ in sys.stdin:
        print(json.dumps({name: rates[0] for name, rates in take_turns(steps, 1, seconds).items()}), flush=True)


@contextmanager
def trainer(spin: str, seconds: float, *, quick: bool) -> Iterator[subprocess.Popen[str]]:
    """A process that trains, with one setting."""
    environment = {name: value for name, value in os.environ.items() if name != SPIN_COUNT}
    if spin != "default":
        environment[SPIN_COUNT] = spin
    command = [sys.executable, "-m", "benchmarks.waiting", "--measure", "--seconds", str(seconds)]
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
    """Rows a second of each model, if wanted beside a process that keeps one core busy."""
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
