"""Starts the Serve application on a cluster of this process and waits until it is stopped."""

from __future__ import annotations

import logging
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.config import merge
from contracts.errors import NotReadyError
from ray_apps.cluster import lost_processes
from ray_apps.ports import check_port, check_proxy_ports
from ray_apps.readiness import num_gateways, wait_until_ready, wait_until_warm
from recommender_api.answers import RecommendationResponse
from recommender_api.operations import RECOMMEND
from recommender_api.requests import RecommendationRequest
from serving.placing.placement import PlacementName

CONFIGS = Path(__file__).parents[1] / "configs" / "serving"
READY_TIMEOUT_S = 300.0
ANSWER_TIMEOUT_S = 60.0
_WATCH_PAUSE_S = 0.5


@dataclass(frozen=True)
class Server:
    """A running application.

    Attributes:
        url: where it answers.
        seconds: how long it took to be ready.
    """

    url: str
    seconds: float

    @classmethod
    def start(
        cls,
        placement: PlacementName,
        port: int,
        var_dir: Path,
        settings: Mapping[str, object] | None = None,
        beside: Callable[[], object] = lambda: None,
    ) -> Server:
        """Deploys `configs/serving/<placement>.yaml` as `serve run` does and waits until it is ready and warm.

        Args:
            placement: which file.
            port: on 127.0.0.1.
            var_dir: folder of bundles and stores.
            settings: laid over the application's arguments.
            beside: waits for other work on this machine; called before the server is warmed up.

        Raises:
            ConfigError: the file is not legal, or a port is in use.
            NotReadyError: the application does not start; Serve's reason is in the message.
        """
        from ray_apps.serve_config import read_serve_config  # it imports Serve, see `deploy`

        started = time.perf_counter()
        check_port(port)  # checked again: a long pipeline may have run since the first check
        check_proxy_ports(os.environ)
        stores = {
            "feast_dir": str(var_dir / "feast"),
            "records_dir": str(var_dir / "records"),
            "embedded": {"data_dir": str(var_dir / "redis")},
        }
        args = merge({"registry": str(var_dir / "bundles"), "stores": stores}, settings or {})
        path = CONFIGS / f"{placement}.yaml"
        url = deploy(read_serve_config(path, args=args, port=port), source=str(path), beside=beside)
        return cls(url, time.perf_counter() - started)

    def recommend(self, request: RecommendationRequest) -> RecommendationResponse:
        """The answer of the operation `recommend`."""
        body = msgspec.json.encode(request)
        headers = {"content-type": "application/json"}
        call = urllib.request.Request(f"{self.url}{RECOMMEND.path}", body, headers)
        with urllib.request.urlopen(call, timeout=ANSWER_TIMEOUT_S) as answer:
            return msgspec.json.decode(answer.read(), type=RecommendationResponse)


def deploy(values: Mapping[str, object], *, source: str, beside: Callable[[], object] = lambda: None) -> str:
    """Starts Serve as a config file says, deploys its applications and waits until all are ready and warm.

    Args:
        values: of the file.
        source: its name, for errors.
        beside: see `Server.start`.

    Returns:
        Address of Serve.

    Raises:
        ConfigError: the values are not legal, or the rules do not fit the HAProxy configuration that Ray writes.
        NotReadyError: an application does not start.
    """
    # Serve reads its environment at import, and the cluster sets it.
    from ray.serve._private.api import serve_start
    from ray.serve.config import gRPCOptions

    from ray_apps.haproxy.check import check_haproxy
    from ray_apps.serve_config import check_serve_config

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    schema = check_serve_config(values, source=source)
    check_haproxy()
    client = serve_start(
        http_options=schema.http_options.model_dump(),
        proxy_location=schema.proxy_location,
        grpc_options=gRPCOptions(**schema.grpc_options.model_dump()),
    )
    client.deploy_apps(schema)
    url = f"http://127.0.0.1:{schema.http_options.port}"
    for application in schema.applications:
        wait_until_ready(f"{url}{application.route_prefix}".rstrip("/"), READY_TIMEOUT_S)
    beside()
    for application in schema.applications:
        wait_until_warm(f"{url}{application.route_prefix}".rstrip("/"), num_gateways(application.name))
    return url


def stop_on_signals() -> None:
    """Lets SIGTERM end the program like Ctrl-C; call it after Ray's start, which sets a handler of its own."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until_stopped() -> None:
    """Waits for Ctrl-C or SIGTERM, which raise KeyboardInterrupt.

    Raises:
        NotReadyError: the cluster has lost a process that it cannot run without.
    """
    while not (lost := lost_processes()):
        time.sleep(_WATCH_PAUSE_S)
    raise NotReadyError(f"Ray's {' and '.join(lost)} ended, and with it this server's cluster; start the server again")
