"""The autoscaling policy that Ray Serve calls, for `autoscaling_policy` in config files.

Serve sends this module to its controller by value, so its logic is in other modules, which are imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from contracts.config import validate
from serving.placing.autoscaling import DeploymentLoad, handle_queue_ms, replicas_wanted
from serving.placing.config import QueueTimeConfig
from serving.running.load import BUSY, QUEUE_MS, RATE

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

_LONGEST_FACTOR = 100
_KeyT = TypeVar("_KeyT")


class QueueTimePolicy:
    """Scales all deployments of an application.

    Args:
        settings: of `QueueTimeConfig`.

    Raises:
        ConfigError: a setting is unknown or not legal.
    """

    def __init__(self, **settings: object) -> None:
        self.config = validate(QueueTimeConfig, settings, source="policy_kwargs of QueueTimePolicy")

    def __call__(
        self, contexts: Mapping[_KeyT, AutoscalingContext]
    ) -> tuple[dict[_KeyT, int], dict[_KeyT, dict[str, object]]]:
        """The wanted replicas of each deployment, from Serve's `AutoscalingContext`; keeps no state."""
        loads = {name: self._load(context) for name, context in contexts.items()}
        return replicas_wanted(loads, self.config), {}

    def _load(self, context: AutoscalingContext) -> DeploymentLoad:
        assert context.current_time is not None  # Serve sets it, and the next one
        assert context.config is not None
        metrics = context.aggregated_metrics or {}

        def values(name: str) -> list[float]:
            return list(metrics.get(name, {}).values()) or [0.0]

        queued = context.total_queued_requests or 0.0
        at_callers = handle_queue_ms(queued, sum(values(RATE)), _LONGEST_FACTOR * self.config.target_ms)
        scaled = [at for at in (context.last_scale_up_time, context.last_scale_down_time) if at is not None]
        since = context.current_time - max(scaled, default=float("-inf"))
        return DeploymentLoad(
            running=context.current_num_replicas,
            target=context.target_num_replicas,
            queue_ms=sum(values(QUEUE_MS)) / len(values(QUEUE_MS)) + at_callers,
            busy=sum(values(BUSY)) / len(values(BUSY)),
            most=context.capacity_adjusted_max_replicas,
            settled=since >= context.config.look_back_period_s,
        )
