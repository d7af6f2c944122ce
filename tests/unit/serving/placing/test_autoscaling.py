"""The autoscaling policy: hand-worked decisions, and a simulated application under Serve's own delays and bounds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve import autoscaling_policy as serve_policies
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from contracts.errors import ConfigError
from serving.placing.autoscaling import DeploymentLoad, handle_queue_ms, replicas_wanted
from serving.placing.config import QueueTimeConfig
from serving.queue_time_policy import QueueTimePolicy
from serving.running.load import ComputeThread, LoadMeter

CONFIG = QueueTimeConfig()


def load(replicas: int = 1, queue_ms: float = 0.0, busy: float = 0.3, **changed: Any) -> DeploymentLoad:
    values = {"running": replicas, "target": replicas, "queue_ms": queue_ms, "busy": busy}
    return DeploymentLoad(**values | changed)


@pytest.mark.parametrize(
    ("loads", "wanted"),
    [
        ({"g": load(), "r": load()}, {"g": 1, "r": 1}),
        # 15 + 15 ms of queues are above 20 ms: the busiest grows by half, rounded up
        ({"g": load(2, 15, 0.5), "r": load(4, 15, 0.9)}, {"g": 2, "r": 6}),
        # the queue is the gateway's, the work is the ranker's
        ({"g": load(1, 500, 0.2), "r": load(2, 0, 1.0)}, {"g": 1, "r": 4}),
        # at least one more
        ({"r": load(10, 21, 0.9)}, {"r": 11}),
        # replicas are on their way, or the load is still that of fewer replicas
        ({"r": load(2, 500, 1.0, target=4)}, {"r": 4}),
        ({"r": load(4, 500, 1.0, settled=False)}, {"r": 4}),
        # 4 replicas busy for 0.3 are work for 1.2; 2 replicas are busy for 0.6 with it
        ({"r": load(4, 1, 0.3)}, {"r": 2}),
        ({"r": load(2, 1, 0.31)}, {"r": 2}),
        ({"r": load(4, 1, 0.0)}, {"r": 1}),
        ({"r": load(4, 1, 0.0, settled=False)}, {"r": 4}),
        # nothing shrinks while requests wait
        ({"g": load(4, 0, 0.1), "r": load(1, 30, 0.9)}, {"g": 4, "r": 2}),
        # the busiest has all that it may have, so the next one grows if it is busy, too; or nobody does
        ({"g": load(2, 70, 0.95, most=2), "r": load(1, 0, 0.9)}, {"g": 2, "r": 2}),
        ({"g": load(2, 70, 0.95, most=2), "r": load(1, 0, 0.5)}, {"g": 2, "r": 1}),
        ({"g": load(2, 70, 0.95, most=2)}, {"g": 2}),
    ],
    ids=range(14),
)
def test_replicas_wanted(loads: dict[str, DeploymentLoad], wanted: dict[str, int]) -> None:
    assert replicas_wanted(loads, CONFIG) == wanted


def test_calls_that_wait_at_their_callers() -> None:
    assert handle_queue_ms(queued=6, rate=200, longest_ms=2_000) == pytest.approx(30)
    assert handle_queue_ms(queued=6, rate=0, longest_ms=2_000) == 2_000
    assert handle_queue_ms(queued=0, rate=0, longest_ms=2_000) == 0


def test_settings_are_checked() -> None:
    assert QueueTimePolicy(target_ms=200).config.target_ms == 200
    with pytest.raises(ConfigError, match="policy_kwargs of QueueTimePolicy: unknown key 'target_s'"):
        QueueTimePolicy(target_s=1)


def test_a_meter_tells_the_load_since_the_last_question() -> None:
    now = [100.0]
    meter = LoadMeter(clock=lambda: now[0], cpu_clock=lambda: 0.5 * now[0])
    meter.add(waited_s=0.03, worked_s=0.5, count=3)
    now[0] += 2
    assert meter.take() == {"queue_ms": pytest.approx(10), "busy": pytest.approx(0.5), "rate": pytest.approx(1.5)}
    meter.add(waited_s=0, worked_s=0.9)
    now[0] += 1
    assert meter.take()["busy"] == pytest.approx(0.9)
    now[0] += 1
    assert meter.take() == {"queue_ms": 0, "busy": pytest.approx(0.5), "rate": 0}


def test_the_compute_thread_is_measured() -> None:
    with ComputeThread() as thread:
        assert thread.submit(max, 1, 2).result() == 2
        with pytest.raises(ZeroDivisionError):
            thread.submit(divmod, 1, 0).result()
    assert thread.load.take()["rate"] > 0


@dataclass
class SimulatedDeployment:
    """Replicas that get `rate` requests a second done each, and need some seconds to start."""

    rate: float
    replicas: int = 1
    target: int = 1
    waiting: float = 0.0
    starting: list[float] = field(default_factory=list)
    samples: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=LOOK_BACK_S))
    scaled_up: float | None = None
    scaled_down: float | None = None
    targets: list[int] = field(default_factory=list)

    def second(self, now: float, arriving: float) -> float:
        """One second of work; requests that go on."""
        self.replicas += sum(1 for at in self.starting if at <= now)
        self.starting = [at for at in self.starting if at > now]
        capacity = self.replicas * self.rate
        done = min(self.waiting + arriving, capacity)
        self.waiting += arriving - done
        use = done / capacity
        random_ms = 1000 / self.rate * use / (2 * max(1 - use, 0.02))  # M/D/1
        wait_ms = 1000 * self.waiting / capacity + min(random_ms, 1000)
        self.samples.append({"queue_ms": wait_ms, "busy": use, "rate": done / self.replicas})
        return done

    def context(self, now: float) -> AutoscalingContext:
        names = ("queue_ms", "busy", "rate")
        told = {name: sum(sample[name] for sample in self.samples) / len(self.samples) for name in names}
        return AutoscalingContext(
            deployment_id=None,
            deployment_name="",
            app_name=None,
            current_num_replicas=self.replicas,
            target_num_replicas=self.target,
            running_replicas=[],
            total_num_requests=0.0,
            total_queued_requests=0.0,
            aggregated_metrics={name: dict.fromkeys(range(self.replicas), value) for name, value in told.items()},
            raw_metrics=None,
            capacity_adjusted_min_replicas=1,
            capacity_adjusted_max_replicas=8,
            policy_state={},
            last_scale_up_time=self.scaled_up,
            last_scale_down_time=self.scaled_down,
            current_time=now,
            config=SERVE_CONFIG,
        )

    def scale(self, target: int, now: float) -> None:
        target = min(max(target, 1), 8)
        if target > self.target:
            self.scaled_up = now
            self.starting += [now + START_S] * (target - self.target)
        elif target < self.target:
            self.scaled_down = now
            self.replicas = target
        self.target = target
        self.targets.append(target)


LOOK_BACK_S, START_S = 15, 8.0
SERVE_CONFIG = AutoscalingConfig(
    min_replicas=1, max_replicas=8, upscale_delay_s=5, downscale_delay_s=120, look_back_period_s=LOOK_BACK_S
)


def simulate(monkeypatch: pytest.MonkeyPatch, arrivals: list[float]) -> tuple[SimulatedDeployment, SimulatedDeployment]:
    """A gateway that gets 1,000 requests a second done and a ranker that gets 100; one arrival rate a second."""
    gateway, ranker = SimulatedDeployment(1_000.0), SimulatedDeployment(100.0)
    now = [1_000.0]
    monkeypatch.setattr(serve_policies, "time", SimpleNamespace(time=lambda: now[0]))
    policy = serve_policies._apply_app_level_autoscaling_config(QueueTimePolicy(target_ms=20))
    states: dict[str, dict[str, Any]] = {"gateway": {}, "ranker": {}}
    deployments = {"gateway": gateway, "ranker": ranker}
    for rate in arrivals:
        now[0] += 1
        ranker.second(now[0], gateway.second(now[0], rate))
        contexts = {name: deployment.context(now[0]) for name, deployment in deployments.items()}
        for name, context in contexts.items():
            context.policy_state = states[name]
        decided, states = policy(contexts)
        for name, deployment in deployments.items():
            deployment.scale(decided[name], now[0])
    return gateway, ranker


def changes(targets: list[int]) -> int:
    return sum(one != other for one, other in pairwise(targets))


def test_it_follows_a_step_up_and_down_without_swinging(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, busy = [40.0] * 60, [400.0] * 400
    gateway, ranker = simulate(monkeypatch, quiet + busy + [40.0] * 600)
    assert set(ranker.targets[:60]) == {1}
    assert set(gateway.targets) == {1}
    under_load, after = ranker.targets[60:460], ranker.targets[460:]
    peak = under_load.index(max(under_load))
    assert under_load[:peak] == sorted(under_load[:peak])
    assert under_load[peak:] == sorted(under_load[peak:], reverse=True), "what was too many goes, and never comes back"
    settled = under_load[250:]
    assert changes(settled) == 0
    assert 5 <= settled[0] <= 7
    assert after[100] == settled[0], "the delay of shrinking holds"
    assert after == sorted(after, reverse=True)
    assert after[-1] == 1


def test_a_steady_load_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for rate in (30.0, 70.0):
        gateway, ranker = simulate(monkeypatch, [rate] * 600)
        assert set(ranker.targets) == set(gateway.targets) == {1}


def test_a_slow_rise_and_fall_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    up = [40.0 + second / 2 for second in range(800)]
    _, ranker = simulate(monkeypatch, up + up[::-1])
    assert ranker.targets[799] >= 5
    assert ranker.targets[:800] == sorted(ranker.targets[:800])
    assert ranker.targets[-1] < ranker.targets[799]
    queue_ms = [sample["queue_ms"] for sample in ranker.samples]
    assert max(queue_ms) < 20
