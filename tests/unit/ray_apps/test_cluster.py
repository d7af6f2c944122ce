from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ray_apps.cluster import OWNER, end_processes_of, keeping_ctrl_c, serve_environment
from ray_apps.haproxy.folder import BINARY

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
ORPHAN = f"""
import subprocess, sys
quiet = {{"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}}
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True, **quiet)
child.stdout.readline()
print(child.pid, flush=True)
"""


def test_processes_of_a_folder_are_ended_even_without_a_parent(tmp_path: Path) -> None:
    def start(owner: str) -> int:
        environment = {**os.environ, OWNER: owner}
        found = subprocess.run(
            [sys.executable, "-c", ORPHAN], env=environment, capture_output=True, text=True, check=True
        )
        return int(found.stdout)

    mine, other = start(str(tmp_path / "mine")), start(str(tmp_path / "other"))
    try:
        end_processes_of(str(tmp_path / "mine"))
        assert not _runs(mine)
        assert _runs(other)
    finally:
        psutil.Process(other).kill()


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_what_is_set_already_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", "8404")
    monkeypatch.setenv(BINARY, "/elsewhere/haproxy")
    own = {"RAY_SERVE_HAPROXY_STATS_PORT": "1", "RAY_SERVE_HAPROXY_METRICS_PORT": "2", BINARY: "/ours/haproxy"}
    environment = serve_environment(own)
    assert environment[BINARY] == "/ours/haproxy"  # which becomes the other
    assert environment["SERVE_SOCKET_REUSE_PORT_ENABLED"] == "0"
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert environment["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
    assert environment["RAY_SERVE_HAPROXY_STATS_PORT"] == "8404"
    assert environment["FORWARDED_ALLOW_IPS"] == "none", "uvicorn leaves X-Forwarded-For to the gateway"
    assert environment["RAY_SERVE_HAPROXY_METRICS_PORT"] == "2"
    root, *others = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(root) / "ray_apps" / "cluster.py").is_file()
    assert others == ["/elsewhere"]


def test_ctrl_c_is_ours_again_after_a_training() -> None:
    def train() -> None:
        with keeping_ctrl_c():
            signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_serve_is_not_imported_before_its_environment_is_set() -> None:
    check = "import sys, ray_apps.demo, ray_apps.serve; sys.exit('ray.serve' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=300)
