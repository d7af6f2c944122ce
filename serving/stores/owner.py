"""The Ray actor that owns the embedded Redis of a machine; jobs and replicas share it.

The embedded Redis listens on a Unix socket, so all its users run on one machine; a cluster needs an address.
"""

from __future__ import annotations

import hashlib
import logging

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from contracts.errors import StoreError
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis

logger = logging.getLogger(__name__)

NAMESPACE = "recommender"
_TIMEOUT_S = 60.0


class RedisOwner:
    """Actor body: keeps the server running while the actor lives; Ray restarts a killed actor."""

    def __init__(self, config: EmbeddedRedisConfig) -> None:
        self._config = config
        self._node = ray.get_runtime_context().get_node_id()
        self._redis: EmbeddedRedis | None = None
        try:
            self.address(self._node)
        except StoreError:
            logger.exception("the embedded Redis did not start; it is tried again when its address is asked for")

    def address(self, node: str) -> str:
        """Address of the server for a caller on a node; starts it if necessary."""
        if node != self._node:
            raise StoreError(
                f"the embedded Redis runs on node {self._node} and is reachable there only, not from node {node}; "
                "a cluster of several machines needs the store's address"
            )
        if self._redis is None:
            server = EmbeddedRedis(self._config)
            server.start()
            self._redis = server
        return self._redis.address

    def healthy(self) -> bool:
        """Whether the server answers now."""
        return self._redis is not None and self._redis.healthy()

    def stop(self) -> None:
        """Stops the server and waits for its end."""
        if self._redis is not None:
            self._redis.stop()
            self._redis = None


def resolve_address(config: StoreConfig) -> str:
    """The store's address: the configured one, or that of the embedded Redis, which it starts if necessary.

    Raises:
        StoreError: the embedded Redis does not start, or runs on another machine.
    """
    if config.address is not None:
        return config.address
    if not ray.is_initialized():
        raise StoreError("no address is set and Ray does not run, which keeps the embedded Redis; start Ray first")
    node = ray.get_runtime_context().get_node_id()
    embedded = config.embedded.model_copy(update={"data_dir": config.embedded.data_dir.absolute()})
    owner = (
        ray.remote(RedisOwner)
        .options(
            name=_name(embedded),
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote(embedded)
    )
    return str(_ask(owner, "address", node))


def healthy(config: StoreConfig) -> bool:
    """Whether the embedded Redis of these settings answers; does not start it."""
    owner = _find(config)
    return owner is not None and bool(_ask(owner, "healthy"))


def stop(config: StoreConfig) -> None:
    """Stops the embedded Redis of these settings and waits for its end; may be called twice."""
    owner = _find(config)
    if owner is not None:
        _ask(owner, "stop")
        ray.kill(owner, no_restart=True)


def _find(config: StoreConfig) -> ActorHandle[RedisOwner] | None:
    try:
        return ray.get_actor(_name(config.embedded), namespace=NAMESPACE)
    except ValueError:
        return None


def _ask(owner: object, method: str, *args: str) -> object:
    try:
        return ray.get(getattr(owner, method).remote(*args), timeout=_TIMEOUT_S)
    except StoreError as error:  # Ray raises a subclass that carries the actor's whole traceback
        raise StoreError(str(getattr(error, "cause", error))) from None
    except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
        raise StoreError(f"the owner of the embedded Redis does not answer: {error}; see the Ray dashboard") from error


def _name(config: EmbeddedRedisConfig) -> str:
    return "redis-" + hashlib.sha256(str(config.data_dir.absolute()).encode()).hexdigest()[:12]
