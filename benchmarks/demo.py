"""Measures `make demo`: seconds until it answers, seconds of each stage, peak memory, seconds to stop.

Memory is the sum of the proportional set sizes (PSS) of the process tree, read once a second: shared pages count
once, however many processes map them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import Figure, parse, report
from benchmarks.peak_memory import PeakMemory
from ray_apps.ports import free_port

SAMPLE_S = 1.0
READY_TIMEOUT_S = 1_800.0
STOP_TIMEOUT_S = 60.0


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = parse("demo", __doc__ or "", argv)
    figures: dict[str, Figure] = {}
    for size in ("debug",) if arguments.quick else ("debug", "demo"):
        figures |= measure(size)
    report(figures, arguments.json)


def measure(size: str) -> dict[str, Figure]:
    """A first run in an empty folder, and a second one that reuses what the first has made."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = run_demo(size, Path(folder)), run_demo(size, Path(folder))
    figures = {f"{size}_{name}": figure for name, figure in first.items()}
    figures[f"{size}_second_run_ready_s"] = second["ready_s"]
    return figures


def run_demo(size: str, var_dir: Path) -> dict[str, Figure]:
    """Starts the demo like a user, and stops it as soon as it is ready."""
    command = [
        sys.executable,
        "-m",
        "ray_apps.demo",
        "--size",
        size,
        "--port",
        str(free_port(8000)),
        f"var_dir={var_dir}",
    ]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        sampler = PeakMemory(demo.pid, SAMPLE_S)
        guard = threading.Timer(READY_TIMEOUT_S, demo.kill)
        guard.start()
        assert demo.stdout is not None
        ready = any(line.startswith("READY ") for line in demo.stdout)
        guard.cancel()
        ready_s = time.perf_counter() - started
        if not ready:
            raise RuntimeError(f"{' '.join(command)} ended with status {demo.wait()} before it was ready")
        peak = sampler.stop()
        demo.send_signal(signal.SIGINT)
        demo.wait(STOP_TIMEOUT_S)
        stop_s = time.perf_counter() - started - ready_s
    stages = json.loads((var_dir / "demo.json").read_text(encoding="utf-8"))
    return {
        "ready_s": Figure(ready_s, "s"),
        "peak_pss_gb": Figure(peak / 1e9, "GB"),
        "stop_s": Figure(stop_s, "s"),
        **{f"stage_{name}_s": Figure(seconds, "s") for name, seconds in stages.items() if name != "ready"},
    }


if __name__ == "__main__":
    main()
