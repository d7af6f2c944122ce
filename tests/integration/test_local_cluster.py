"""What a local cluster opens to the network and to other users of the machine."""

from __future__ import annotations

import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.e2e.programs import user_environment

pytestmark = [pytest.mark.ray, pytest.mark.slow]
_PROGRAM = textwrap.dedent(
    """
    import os
    import psutil
    import ray
    from ray_apps.cluster import ClusterConfig, start_local

    LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    start_local(ClusterConfig(object_store_memory_mb=80), include_dashboard=True)

    @ray.remote(num_cpus=0)
    class Worker:
        def pid(self):
            return os.getpid()

    worker = Worker.remote()
    pid = ray.get(worker.pid.remote())
    mine = {one.pid: one.name() for one in [psutil.Process(), *psutil.Process().children(recursive=True)]}
    listeners = [one for one in psutil.net_connections("inet") if one.pid in mine and one.status == "LISTEN"]
    known = {"gcs_server", "raylet"} <= {mine[one.pid] for one in listeners} and pid in {one.pid for one in listeners}
    print("KNOWN", known)
    print("OPEN", [(mine[one.pid], *one.laddr) for one in listeners if one.laddr.ip not in LOOPBACK])
    ray.shutdown()
    """
)


def test_everything_of_a_local_cluster_listens_on_loopback_and_its_token_is_private(tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64, encoding="utf-8")
    token.chmod(0o644)
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=user_environment() | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert "KNOWN True" in run.stdout, run.stdout + run.stderr[-2_000:]
    assert "OPEN []" in run.stdout
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
