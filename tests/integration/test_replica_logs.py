"""Log lines of a real replica, in the throughput mode in which Serve keeps 1,000 of them in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
_SERVE = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1"}
_PROGRAM = textwrap.dedent(
    """
    import glob, logging, os, signal, sys, time
    import ray
    from ray import serve
    from serving.deployments.logs import keep_logs_written
    from serving.gateway.watch.config import RequestLogConfig
    from serving.gateway.watch.telemetry import Telemetry

    @serve.deployment
    class Chatty:
        def __init__(self):
            self.telemetry = Telemetry(RequestLogConfig())
            keep_logs_written(self.telemetry.write_lines)

        async def __call__(self, name):
            self.telemetry.answered(name, "GET", "/x", 200, time.perf_counter())
            logging.getLogger("serving").warning("noted %s", name)
            return os.getpid()

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    handle = serve.run(Chatty.bind(), name="chatty", route_prefix=None)
    process = handle.remote("r1").result()
    if sys.argv[1] == "KILL":
        time.sleep(1.0)
    os.kill(process, getattr(signal, "SIG" + sys.argv[1]))
    while os.path.exists(f"/proc/{process}") and " Z " not in open(f"/proc/{process}/stat").read():
        time.sleep(0.05)
    folder = ray._private.worker._global_node.get_session_dir_path()
    text = "".join(open(path).read() for path in glob.glob(folder + "/logs/serve/replica_chatty*"))
    print("LINES", '"request_id":"r1"' in text, "noted r1" in text)
    """
)


@pytest.mark.parametrize("way", ["TERM", "KILL"])
def test_lines_outlive_a_replica_that_is_ended_at_once_or_killed_after_a_second(way: str) -> None:
    assert hasattr(signal, f"SIG{way}")
    environment = {**os.environ, **_SERVE}
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, way], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert "LINES True True" in run.stdout, run.stdout + run.stderr[-2_000:]
