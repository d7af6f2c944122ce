"""Threads by load, worked by hand on a machine of four cores."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from contracts import cores
from contracts.cores import ThreadsByLoad, threads_for


@pytest.mark.parametrize(
    ("most", "num_cores", "others", "threads"),
    [
        (2, 2, 0.0, 2),
        (2, 2, 0.3, 2),  # what a cluster's own processes take
        (2, 2, 0.5, 1),
        (2, 2, 1.0, 1),
        (2, 2, 2.0, 1),  # somebody has to train
        (4, 4, 1.0, 3),
        (4, 4, 0.67, 3),  # a neighbour that has to share its core with us
        (2, 16, 13.0, 2),
        (8, 2, 0.0, 2),
        (1, 2, 0.0, 1),
    ],
)
def test_no_more_than_can_run(most: int, num_cores: int, others: float, threads: int) -> None:
    assert threads_for(most, num_cores, others) == threads


@dataclass
class Machine:
    """Four cores; seconds passed, seconds of CPU that we had, share of all cores in use since the last look."""

    now_s: float = 100.0
    own_s: float = 0.0
    busy: float = 0.0

    def passes(self, seconds: float, own: float, others: float) -> None:
        self.now_s += seconds
        self.own_s += own * seconds
        self.busy = 100 * (own + others) / 4


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(cores.time, "monotonic", lambda: machine.now_s)
    monkeypatch.setattr(cores.time, "process_time", lambda: machine.own_s)
    monkeypatch.setattr(cores.psutil, "cpu_percent", lambda: machine.busy)
    return machine


def test_neighbours_come_and_go(machine: Machine) -> None:
    told: list[int] = []
    threads = ThreadsByLoad(4, told.append)
    for own, others in ((4.0, 0.0), (3.3, 0.7), (3.0, 1.0), (1.0, 3.0), (0.2, 3.8), (4.0, 0.0)):
        machine.passes(1.0, own, others)
        threads.follow()
    assert told == [4, 3, 1, 4]


def test_it_looks_now_and_then_only(machine: Machine) -> None:
    told: list[int] = []
    threads = ThreadsByLoad(4, told.append)
    machine.passes(0.4, 0.0, 4.0)
    threads.follow()
    assert told == [4]
    machine.passes(0.2, 0.0, 4.0)
    threads.follow()
    assert told == [4, 1]


def test_a_fixed_number_stays(machine: Machine) -> None:
    told: list[int] = []
    threads = ThreadsByLoad(4, told.append, fixed=True)
    machine.passes(1.0, 0.0, 4.0)
    threads.follow()
    assert told == [4]


def test_each_thread_follows_for_itself(machine: Machine) -> None:
    """The number is a property of the thread that calls operations."""
    told: list[tuple[str, int]] = []
    threads = ThreadsByLoad(4, lambda number: told.append((threading.current_thread().name, number)))
    follow = threads.follow

    def run() -> None:
        follow()  # it is met for the first time
        machine.passes(1.0, 0.0, 4.0)
        follow()

    other = threading.Thread(target=run, name="other")
    other.start()
    other.join()
    assert told == [("MainThread", 4), ("other", 4), ("other", 1)]
