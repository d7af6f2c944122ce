"""Chooses numbers of replicas from the time that requests wait in queues.

Queues show that something is short, not what: a slow ranker makes requests wait in the gateway. So the queues of all
deployments count together, and the busiest deployment grows. It shrinks when its work fits on fewer replicas.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from serving.placing.config import QueueTimeConfig

_KeyT = TypeVar("_KeyT", bound=Hashable)


@dataclass(frozen=True)
class DeploymentLoad:
    """Load of a deployment in the last look-back period.

    Attributes:
        running: replicas that run.
        target: replicas that it should have by now; more than `running` while some start.
        queue_ms: mean milliseconds that a call waits, at its callers and in the replica.
        busy: mean share of the time that a replica was busy.
        most: replicas that it may have.
        settled: whether it has had its replicas for a whole look-back period, so that the load is theirs.
    """

    running: int
    target: int
    queue_ms: float
    busy: float
    most: int = sys.maxsize
    settled: bool = True


def replicas_wanted(loads: Mapping[_KeyT, DeploymentLoad], config: QueueTimeConfig) -> dict[_KeyT, int]:
    """Replicas that each deployment should have; bounds and delays are Serve's.

    Args:
        loads: of every deployment of an application.
        config: target and steps.
    """
    wanted = {name: load.target for name, load in loads.items()}
    queue_ms = sum(load.queue_ms for load in loads.values())
    if queue_ms > config.target_ms:
        busiest = max(loads, key=lambda name: loads[name].busy)
        if loads[busiest].target >= loads[busiest].most:  # the next one grows if it is short of time itself
            short = [name for name, one in loads.items() if one.target < one.most and one.busy > config.busy_after]
            if not short:
                return wanted
            busiest = max(short, key=lambda name: loads[name].busy)
        load = loads[busiest]
        if load.settled and load.running >= load.target:
            growth = min(queue_ms / config.target_ms, config.max_growth)
            wanted[busiest] = max(load.target + 1, math.ceil(load.target * growth))
        return wanted
    for name, load in loads.items():
        if load.settled and load.running == load.target:
            needed = max(1, math.ceil(load.busy * load.running / config.busy_after))
            wanted[name] = min(load.target, needed)
    return wanted


def handle_queue_ms(queued: float, rate: float, longest_ms: float) -> float:
    """Estimated wait at the callers in milliseconds (Little's law); `longest_ms` if no calls finish.

    Args:
        queued: calls that wait.
        rate: calls that finish a second.
        longest_ms: cap.
    """
    if queued <= 0:
        return 0.0
    return longest_ms if rate <= 0 else min(1000 * queued / rate, longest_ms)
