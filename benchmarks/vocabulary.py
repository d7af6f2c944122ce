"""Measures a large vocabulary: seconds to build, save and open it, memory of a process that has it, time of a lookup.

A process opens it. The touched pages of its files count in the resident memory (RSS) and are shared by all processes of
the machine; the rest is private. Another process holds a dictionary of the same tokens for comparison.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil

from benchmarks.common import Figure, parser, report, spread
from benchmarks.peak_memory import PeakMemory, pss
from contracts.vocabulary import SMALL, Vocabulary

_SAMPLE_S = 0.05
_ROUNDS = 5
_LOOKUPS = 20_000


def build_and_save(stem: Path, num_tokens: int) -> dict[str, Figure]:
    """Builds a vocabulary of ids such as `customer-0001234` and saves it."""
    tokens = [f"customer-{number:07}" for number in range(num_tokens)]
    before = pss(os.getpid())
    memory = PeakMemory(os.getpid(), _SAMPLE_S)
    start = perf_counter()
    vocabulary = Vocabulary(tokens)
    built = perf_counter()
    peak = memory.stop()
    vocabulary.save(stem)
    saved = perf_counter()
    size = sum(path.stat().st_size for path in stem.parent.iterdir())
    return {
        "build": Figure(built - start, "s"),
        "build, peak beside the Python strings": Figure((peak - before) / 1e6, "MB"),
        "save": Figure(saved - built, "s"),
        "files": Figure(size / 1e6, "MB"),
    }


def open_and_ask(stem: Path) -> dict[str, Figure]:
    """Opens a saved vocabulary, and encodes known and unknown values one by one and all together."""
    memory = _Memory()
    start = perf_counter()
    vocabulary = Vocabulary.open(stem)
    opened = perf_counter()
    figures = {"open": Figure(opened - start, "s")} | memory.since("open")
    start = perf_counter()
    _ = vocabulary.digest
    figures["digest"] = Figure(perf_counter() - start, "s")
    return figures | _lookups(vocabulary.encode_one, len(vocabulary))


def hold_dictionary(stem: Path) -> dict[str, Figure]:
    """Memory of a dictionary of the same tokens."""
    vocabulary = Vocabulary.open(stem)
    memory = _Memory()
    start = perf_counter()
    ids = {token: number for number, token in enumerate(vocabulary.tokens, start=1)}
    figures = {"dictionary, build": Figure(perf_counter() - start, "s")} | memory.since("dictionary")
    lookups = _lookups(lambda value: ids.get(value, 0), len(vocabulary))
    return figures | {f"dictionary, {name}": figure for name, figure in lookups.items()}


class _Memory:
    """Measures the memory that this process takes from now on."""

    def __init__(self) -> None:
        self._before = psutil.Process().memory_info()

    def since(self, name: str) -> dict[str, Figure]:
        now = psutil.Process().memory_info()
        return {
            f"{name}, RSS of the process": Figure(now.rss / 1e6, "MB"),
            f"{name}, shared pages of files": Figure((now.shared - self._before.shared) / 1e6, "MB"),
            f"{name}, its own": Figure((now.rss - now.shared - self._before.rss + self._before.shared) / 1e6, "MB"),
        }


def _lookups(encode_one: Callable[[str], int], num_tokens: int) -> dict[str, Figure]:
    """Microseconds of a lookup, of known and of unknown values in random order."""
    generator = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {"known": [], "unknown": []}
    for _ in range(_ROUNDS):
        numbers = generator.integers(num_tokens, size=_LOOKUPS).tolist()
        for name, prefix in (("known", "customer"), ("unknown", "stranger")):
            values = [f"{prefix}-{number:07}" for number in numbers]
            start = perf_counter()
            found = [encode_one(value) for value in values]
            seconds[name].append((perf_counter() - start) / _LOOKUPS * 1e6)
            if found != [number + 1 if name == "known" else 0 for number in numbers]:
                raise RuntimeError(f"a lookup of {name} values is wrong")
    return {f"lookup, {name}": spread(values, "us") for name, values in seconds.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Builds, opens and looks up in separate processes, and prints the figures."""
    arguments = _arguments(argv)
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / "user_id"
        figures |= _in_process(build_and_save, stem, arguments.tokens)
        figures |= _in_process(open_and_ask, stem)
        figures |= _in_process(hold_dictionary, stem)
    report(figures, arguments.json)
    return 0


def _in_process(measure: Callable[..., dict[str, Figure]], *values: Path | int) -> dict[str, Figure]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *values).result()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    arguments = parser("vocabulary", (__doc__ or "").partition("\n")[0])
    arguments.add_argument("--tokens", type=int, help=f"more than {SMALL:,} (10,000,000; quick: 100,000)")
    given = arguments.parse_args(argv)
    if given.tokens is None:
        given.tokens = 100_000 if given.quick else 10_000_000
    return given


if __name__ == "__main__":
    sys.exit(main())
