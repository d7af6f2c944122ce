"""Shared by all benchmarks: figures and the machine they were measured on, printed and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psutil


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        value: None if it could not be measured; see `reason`.
        unit: for example `s` or `rows/s`.
        low, high: interval or range of the repetitions, if any.
        reason: why there is no value.
    """

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """The arguments that every benchmark takes: `json` and `quick`."""
    arguments = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}", description=description)
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments.add_argument("--quick", action="store_true", help="small sizes: does it run, not how fast")
    return arguments


def parse(program: str, description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The values of the arguments that every benchmark takes."""
    return parser(program, description).parse_args(argv)


def spread(values: Sequence[float], unit: str) -> Figure:
    """The median over the rounds, with the lowest and the highest."""
    return Figure(median(values), unit, min(values), max(values))


def spread_ms(times: Sequence[float]) -> Figure:
    """The median, with the 5th and the 95th percentile."""
    low, high = np.percentile(times, [5, 95])
    return Figure(median(times), "ms", float(low), float(high))


def report(figures: Mapping[str, Figure], path: Path | None) -> None:
    """Prints the figures and writes them with machine and command if a path is given."""
    for name, figure in figures.items():
        if figure.value is None:
            print(f"{name:<40} not measured: {figure.reason}")
            continue
        interval = "" if figure.low is None else f"  [{figure.low:,.4g}, {figure.high:,.4g}]"
        print(f"{name:<40} {figure.value:>14,.4g} {figure.unit}{interval}")
    if path is not None:
        values = {
            name: {key: value for key, value in asdict(figure).items() if key != "reason" or value}
            for name, figure in figures.items()
        }
        command = shlex.join(["python", "-m", _module(), *sys.argv[1:]])
        content = {"machine": machine(), "command": command, "figures": values}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, str | int | float]:
    """The machine and versions that the figures depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _module() -> str:
    return f"benchmarks.{Path(sys.argv[0]).stem}"
