from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.peak_memory import PeakMemory, pss


def test_memory_of_a_child_counts_until_it_has_ended() -> None:
    alone = pss(os.getpid())
    command = "held = bytes(100_000_000); held = bytearray(held); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        memory = PeakMemory(os.getpid(), 0.01)
        assert child.stdout is not None
        child.stdout.readline()
        while memory._peak < 100_000_000:
            time.sleep(0.01)
        child.kill()
    assert memory.stop() > max(alone, 100_000_000)
    assert pss(child.pid) == 0


def test_a_process_that_has_ended_keeps_its_peak() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        memory = PeakMemory(child.pid, 0.01)
        while memory._peak == 0:
            time.sleep(0.01)
        child.kill()
    assert memory.stop() > 0
