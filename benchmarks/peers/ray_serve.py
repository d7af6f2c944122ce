"""Our server for the benchmark: runs a placement's config file with a fixed number of replicas until SIGINT.

The number is fixed, because a starting replica would use the cores during a measurement.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_apps.cluster import ClusterConfig, serving_cluster
from ray_apps.ports import port_block
from ray_apps.server import deploy, stop_on_signals, wait_until_stopped
from serving.placing.placement import CONSUMER

OBJECT_STORE_MB = 200
_HAPROXY_S = 3.0
_POLL_S = 0.2


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; `--settings` holds serving settings as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.ray_serve", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="Serve config file of a placement")
    parser.add_argument("--replicas", type=int, default=1, help="of every deployment that answers requests")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--var", type=Path, required=True, help="folder that names what belongs to this server")
    parser.add_argument("--settings", required=True)
    parser.add_argument("--with-empty", action="store_true", help="also a deployment that does nothing")
    arguments = parser.parse_args(argv)
    cluster = ClusterConfig(object_store_memory_mb=OBJECT_STORE_MB)
    with port_block() as ports, serving_cluster(cluster, arguments.var, ports):
        stop_on_signals()
        settings = json.loads(arguments.settings)
        num_replicas = deploy_fixed(arguments.config, arguments.replicas, arguments.port, settings)
        if arguments.with_empty:
            deploy_empty()
        wait_until_whole(num_replicas)
        print("READY", flush=True)
        try:
            wait_until_stopped()
        except KeyboardInterrupt:
            return


def deploy_fixed(path: Path, replicas: int, port: int, args: dict[str, Any]) -> dict[str, int]:
    """Deploys a config file with a number of replicas of each deployment that answers requests, until it answers.

    Returns:
        Replicas of each deployment; the consumer keeps the file's number, because no request waits for it.
    """
    from ray_apps.serve_config import read_serve_config  # it imports Serve, which reads its environment at import

    values = read_serve_config(path, args=args, port=port)
    deployments = values["applications"][0]["deployments"]
    for deployment in deployments:
        if deployment["name"] != CONSUMER:
            deployment.pop("autoscaling_config", None)
            deployment["num_replicas"] = replicas
    deploy(values, source=str(path))
    return {deployment["name"]: deployment["num_replicas"] for deployment in deployments}


def wait_until_whole(num_replicas: Mapping[str, int]) -> None:
    """Waits until every deployment of the recommender has all its replicas and HAProxy knows them."""
    from ray import serve
    from ray.serve._private.common import ReplicaState

    while True:
        deployments = serve.status().applications["recommender"].deployments
        if all(
            deployments[name].replica_states.get(ReplicaState.RUNNING) == count for name, count in num_replicas.items()
        ):
            time.sleep(_HAPROXY_S)  # HAProxy closes connections when it reads its new configuration
            return
        time.sleep(_POLL_S)


def deploy_empty() -> None:
    """Deploys a replica that does nothing, to compare memory with."""
    from ray import serve

    class Empty:
        def __call__(self) -> None:
            return None

    empty = serve.deployment(name="Empty", ray_actor_options={"num_cpus": 0})(Empty)  # all CPUs are taken
    serve.run(empty.bind(), name="empty", route_prefix=None)


if __name__ == "__main__":
    main()
