"""Measures a change: runs one benchmark in two checkouts by turns, and gives the ratio of each figure.

By turns, other load of the machine affects both alike. Each checkout needs an environment at .venv; the benchmark
builds its files before the first turn that counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.common import Figure, report
from benchmarks.common import parser as common_parser

ROOT = Path(__file__).parents[1]


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = common_parser("turns", __doc__ or "")
    parser.add_argument("before", type=Path, help="the other checkout; ratios are this one's figures by its figures")
    parser.add_argument("--turns", type=int, default=5, help="of each checkout")
    parser.add_argument("--program", default="serving", help="which benchmark")
    arguments, rest = parser.parse_known_args(argv)
    quick = ["--quick"] if arguments.quick else []
    command = [f"benchmarks.{arguments.program}", *quick, *(part for part in rest if part != "--")]
    pairs = []
    for number in range(arguments.turns):
        sides = [arguments.before.resolve(), ROOT]
        found = {side: figures_of(side, command) for side in (sides if number % 2 == 0 else reversed(sides))}
        pairs.append((found[sides[0]], found[ROOT]))
        print(f"turn {number + 1} of {arguments.turns}", flush=True)
    report(ratios(pairs), arguments.json)


def figures_of(checkout: Path, command: Sequence[str]) -> dict[str, float]:
    """The measured values of a benchmark in a checkout.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        subprocess.run(
            [checkout / ".venv" / "bin" / "python", "-m", *command, "--json", path],
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout)},
            check=True,
        )
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return {name: figure["value"] for name, figure in figures.items() if figure["value"] is not None}


def ratios(pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> dict[str, Figure]:
    """Geometric mean of after / before over the turns, by figure, with its 95 % interval (Student's t).

    Args:
        pairs: figures before and after, of each turn.
    """
    found: dict[str, Figure] = {}
    for name in pairs[0][1]:
        sides = [(before.get(name, 0.0), after.get(name, 0.0)) for before, after in pairs]
        if not all(before > 0 and after > 0 for before, after in sides):
            found[name] = Figure(None, "times", reason="not above 0 on both sides in each turn")
            continue
        logs = np.log([after / before for before, after in sides])
        middle = float(logs.mean())
        low = high = None
        if len(logs) > 1:
            half = float(stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs))
            low, high = float(np.exp(middle - half)), float(np.exp(middle + half))
        found[name] = Figure(float(np.exp(middle)), "times", low, high)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
