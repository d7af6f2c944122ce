"""Measures what a change costs: short slices of the same work in two checkouts, by turns, and the ratio of each.

A slice takes a tenth of a second, so both checkouts see the same load of the machine, and CPU time hardly depends on
it. `benchmarks.turns` measures what users see, but on a shared machine its intervals are wider than most changes. Equal
processes differ, too, by where their memory lies: so the workers are started several times, and the interval is over
the starts. Each checkout needs an environment at .venv; the serving slices build the shop's files in it first.

With `--ten-columns` this checkout's shop declares ten columns: without another checkout, what they cost.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import IO

from benchmarks.common import Figure, parser, report, spread
from benchmarks.turns import ROOT, ratios

WORKER = Path(__file__).with_name("slice_worker.py")
KINDS = ("cpu", "wall")
Times = dict[str, float]
"""Milliseconds of one unit by name."""


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    options = parser("slices", __doc__ or "")
    options.add_argument(
        "before", nargs="?", type=Path, default=ROOT, help="the other checkout, compared with this one"
    )
    options.add_argument("--program", choices=("serving", "training"), default="serving", help="which work")
    options.add_argument("--starts", type=int, default=8, help="of the workers; the interval is over them")
    options.add_argument("--slices", type=int, default=20, help="of each kind in each start")
    options.add_argument("--ten-columns", action="store_true", help="whether this checkout's shop declares ten columns")
    arguments = options.parse_args(argv)
    command = [arguments.program, *(["--quick"] if arguments.quick else [])]
    changed = [*command, *(["--ten-columns"] if arguments.ten_columns else [])]
    starts, slices = (2, 2) if arguments.quick else (arguments.starts, arguments.slices)
    found = []
    for number in range(starts):
        with ExitStack() as stack:
            before = stack.enter_context(_worker(arguments.before.resolve(), command))
            after = stack.enter_context(_worker(ROOT, changed))
            found.append(compare(before, after, slices))
        print(f"start {number + 1} of {starts}", flush=True)
    report(figures_of(found), arguments.json)


class Worker:
    """A running `slice_worker` of one checkout.

    Args:
        process: with lines as standard input and output.
        log: what it prints beside its answers.

    Raises:
        RuntimeError: it ended instead of announcing its slices.
    """

    def __init__(self, process: subprocess.Popen[str], log: IO[str]) -> None:
        self._process = process
        self._log = log
        self.names = tuple(self._line().split())

    def measure(self, name: str, first: int) -> Times:
        """Times of one unit of a slice, by `KINDS`."""
        assert self._process.stdin is not None
        print(name, first, file=self._process.stdin, flush=True)
        return {kind: 1000 * float(seconds) for kind, seconds in zip(KINDS, self._line().split(), strict=True)}

    def _line(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            self._log.seek(0)
            raise RuntimeError(f"a worker ended with status {self._process.wait()}: {self._log.read()[-2_000:]}")
        return line


@contextmanager
def _worker(checkout: Path, command: Sequence[str]) -> Iterator[Worker]:
    program = [str(checkout / ".venv" / "bin" / "python"), "-P", str(WORKER), *command]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            program, cwd=checkout, env=environment, stdin=pipe, stdout=pipe, stderr=log, text=True
        ) as process,
    ):
        try:
            yield Worker(process, log)
        finally:
            process.terminate()


def compare(before: Worker, after: Worker, count: int) -> tuple[Times, Times]:
    """Median times of a unit by kind of slice, before and after.

    Args:
        before: the checkout to compare with.
        after: the changed one.
        count: slices of each kind.
    """
    numbers = random.Random(0)
    medians: tuple[Times, Times] = ({}, {})
    for name in after.names:
        found: tuple[list[Times], list[Times]] = ([], [])
        for turn in range(count):
            first = numbers.randrange(10_000)
            for side, worker in [(0, before), (1, after)][:: 1 if turn % 2 == 0 else -1]:
                found[side].append(worker.measure(name, first))
        for side in (0, 1):
            medians[side].update({f"{name}_{kind}": median(one[kind] for one in found[side]) for kind in KINDS})
    return medians


def figures_of(starts: Sequence[tuple[Times, Times]]) -> dict[str, Figure]:
    """The times before and after over the starts, and their ratio."""
    figures: dict[str, Figure] = {}
    for name, ratio in ratios(starts).items():
        for side, when in enumerate(("before", "after")):
            figures[f"{name}_{when}"] = spread([start[side][name] for start in starts], "ms")
        figures[f"{name}_ratio"] = ratio
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
