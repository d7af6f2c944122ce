from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.slices import Worker, compare, figures_of

_ANSWERS = """
import sys
print("one many", flush=True)
for number, line in enumerate(sys.stdin):
    name, first = line.split()
    cpu = {milliseconds} / 1000 * (1 if name == "one" else 4)
    print(cpu, 2 * cpu if number else 9.0, flush=True)
"""
"""The wall time of its first slice is an outlier."""


@contextmanager
def _running(program: str) -> Iterator[Worker]:
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=log, text=True) as process,
    ):
        try:
            yield Worker(process, log)
        finally:
            process.terminate()


def test_medians_by_kind_of_slice_and_their_ratio() -> None:
    with (
        _running(_ANSWERS.format(milliseconds=2)) as before,
        _running(_ANSWERS.format(milliseconds=3)) as after,
    ):
        found = compare(before, after, 3)
    assert found[0] == pytest.approx({"one_cpu": 2, "one_wall": 4, "many_cpu": 8, "many_wall": 16})
    assert found[1] == pytest.approx({"one_cpu": 3, "one_wall": 6, "many_cpu": 12, "many_wall": 24})
    figures = figures_of([found, found])
    assert figures["many_cpu_before"].value == pytest.approx(8)
    assert figures["many_cpu_ratio"].value == pytest.approx(1.5)
    assert figures["many_cpu_ratio"].low == pytest.approx(1.5)


def test_a_worker_that_ends_says_why() -> None:
    with (
        pytest.raises(RuntimeError, match=r"status 1: .*no shop here"),
        _running("raise SystemExit('no shop here')"),
    ):
        pass
