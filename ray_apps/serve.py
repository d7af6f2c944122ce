"""`make serve`: the production bundle of a var folder behind HTTP, with the stores it needs, until Ctrl-C.

On a running cluster use Ray's own `serve run configs/serving/staged.yaml`; this program sets what Serve reads from the
environment, starts a cluster of its own, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from contracts.config import load_config, override_values
from contracts.errors import BundleError
from contracts.files import private_process
from contracts.registry import Registry
from ray_apps.cluster import ClusterConfig, only_server, serving_cluster
from ray_apps.console import EXIT_OK, configure_logging, report_error
from ray_apps.haproxy.config import HAProxyConfig
from ray_apps.ports import port_block
from ray_apps.server import Server, stop_on_signals, wait_until_stopped
from recommender_api.operations import RECOMMEND
from serving.gateway.http.routes import DOCS
from serving.placing.placement import PLACEMENTS, PlacementName

OBJECT_STORE_MB = 200


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ray_apps.serve", description=__doc__)
    parser.add_argument("--placement", choices=tuple(PLACEMENTS), default="staged")
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1")
    parser.add_argument("--var", type=Path, default=Path("var"), help="folder of bundles and stores")
    parser.add_argument("--haproxy", type=Path, help="YAML file with settings of HAProxy, see docs/guides/serving.md")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings laid over the file's `args`")
    arguments = parser.parse_args(argv)
    private_process()
    configure_logging()
    stop_on_signals()
    try:
        settings = override_values(arguments.overrides)
        haproxy = load_config(HAProxyConfig, arguments.haproxy) if arguments.haproxy else HAProxyConfig()
        serve(arguments.placement, arguments.port, arguments.var.resolve(), settings, haproxy)
    except KeyboardInterrupt:
        print("stopped")
    except Exception as error:
        return report_error(error)
    return EXIT_OK


def serve(
    placement: PlacementName, port: int, var_dir: Path, settings: Mapping[str, object], haproxy: HAProxyConfig
) -> None:
    """Serves until Ctrl-C.

    Args:
        placement: which config file.
        port: on 127.0.0.1.
        var_dir: folder of bundles and stores.
        settings: laid over the application's arguments.
        haproxy: settings of the proxy between clients and gateways.

    Raises:
        BundleError: nothing is in production in the folder.
    """
    elsewhere = {"bundle", "registry"} & set(settings)
    if not elsewhere and Registry.open(var_dir / "bundles").production() is None:
        raise BundleError(
            f"nothing is in production in {var_dir / 'bundles'}; run `make demo` or the pipeline job first"
        )
    cluster = ClusterConfig(object_store_memory_mb=OBJECT_STORE_MB, haproxy=haproxy)
    with (
        only_server(var_dir, port, "serve"),
        port_block() as ports,
        serving_cluster(cluster, var_dir, ports) as dashboard,
    ):
        stop_on_signals()
        server = Server.start(placement, port, var_dir, settings)
        print(f"API {server.url}{RECOMMEND.path}, documentation {server.url}{DOCS}, Ray dashboard {dashboard}")
        print(f"READY {server.url}", flush=True)
        wait_until_stopped()


if __name__ == "__main__":
    sys.exit(main())
