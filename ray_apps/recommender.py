"""The Serve application: typed arguments → `build_app` → deployments.

Start it with `serve run configs/serving/staged.yaml` (or another one there). Ray Serve turns a file's `args` into
`RecommenderArgs` only if the annotation of `build_app` is a real class. So this module must do without
`from __future__ import annotations`, with which the `args` would stay an unchecked dict.
"""

from pathlib import Path

import ray
from pydantic import field_validator
from ray import serve
from ray.serve import Application

from contracts.bundle import open_bundle
from contracts.errors import BundleError, ConfigError
from contracts.registry import Registry
from contracts.secrets import refuse_secret_variables
from serving.config import SECRET_VARIABLES, ServingConfig
from serving.deployments.consumer import ConsumerReplica
from serving.deployments.gateway import GatewayReplica
from serving.deployments.stage import StageReplica
from serving.placing.placement import CONSUMER, GATEWAY, find_placement


class RecommenderArgs(ServingConfig):
    """Arguments of the application."""

    placement: str = "staged"
    """`staged`: every stage in a deployment of its own; `tiered`: retrieval and ranking, which run models, in
    separate ones; `fused`: all stages in one; `module:ATTRIBUTE`: your own `serving.placing.placement.Placement`."""

    @field_validator("placement")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            find_placement(name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return name


def build_app(args: RecommenderArgs) -> Application:
    """Binds the deployments of a placement; every replica gets the one bundle that is found here.

    Raises:
        BundleError: no such bundle, or it is damaged.
        ConfigError: the stores are set to another shop than the bundle's, or a `runtime_env` shows a secret.
    """
    if ray.is_initialized():
        own = dict(ray.get_runtime_context().runtime_env)
        refuse_secret_variables(own, SECRET_VARIABLES, source="the application")
    path = find_bundle(args)
    config = with_shop(args, open_bundle(path).manifest.shop)
    remote: dict[str, Application] = {}
    for name, parts in find_placement(args.placement).deployments.items():
        stage = serve.deployment(name=name)(StageReplica).bind(args.placement, parts, str(path), config.of_stages())
        remote |= dict.fromkeys(parts, stage)
    consumer = serve.deployment(name=CONSUMER)(ConsumerReplica).bind(str(path), config)
    beside = [consumer] if config.consumer.enabled else []
    return serve.deployment(name=GATEWAY)(GatewayReplica).bind(args.placement, str(path), config, remote, beside)


def find_bundle(args: ServingConfig) -> Path:
    """Folder of the bundle that the arguments name, or of the registry's production version.

    Raises:
        BundleError: nothing is in production.
    """
    folder = Path(args.registry).absolute()
    if args.bundle is not None:
        return folder / args.bundle  # `bundle` may be an absolute path
    version = Registry.open(folder).production()
    if version is None:
        raise BundleError(f"nothing is in production in {folder}; run the publish job or set `bundle`")
    return folder / version


def with_shop(config: ServingConfig, shop: str) -> ServingConfig:
    """The settings with the stores of the bundle's shop.

    Raises:
        ConfigError: the settings name another shop.
    """
    stores = config.stores
    if "shop" in stores.model_fields_set and stores.shop != shop:
        raise ConfigError(f"stores.shop is {stores.shop!r}, the bundle is of {shop!r}; leave stores.shop out")
    named = stores.model_copy(update={"shop": shop})
    return config.model_copy(update={"stores": named})
