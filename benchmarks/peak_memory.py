"""Peak memory of a process tree: the sum of proportional set sizes (PSS), so that shared pages count once."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil


class PeakMemory:
    """Samples the memory of a process and all below it in a thread until it is stopped.

    Args:
        pid: of the process.
        sample_s: seconds between two samples.
    """

    def __init__(self, pid: int, sample_s: float) -> None:
        self._process = psutil.Process(pid)
        self._sample_s = sample_s
        self._peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Ends sampling; returns the highest sum in bytes."""
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._stopped.wait(self._sample_s):
            try:
                tree = [self._process, *self._process.children(recursive=True)]
            except psutil.NoSuchProcess:  # the process has just ended
                return
            self._peak = max(self._peak, sum(pss(process.pid) for process in tree))


def pss(pid: int) -> int:
    """Proportional set size of a process in bytes; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
