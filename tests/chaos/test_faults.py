"""Faults under load on a real cluster: everybody is answered, answers say what is missing, and all comes back."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import psutil
import pytest

from benchmarks.load import Target, closed_loop, http_request
from serving.stores.embedded import EmbeddedRedis
from tests.chaos.load import USERS, Load
from tests.fixtures.running_shop import RunningShop

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]
NUM_TOO_MANY, OVERLOAD_S = 640, 20
"""Ten times the clients of the best throughput."""
NUM_REPLICAS = 4
"""Two gateways, one of each other deployment."""
STORES = ("user_features", "recent_items", "seen_filter")


def assert_all_answered(load: Load) -> None:
    assert set(load.statuses) == {200}
    assert {one.num_items for one in load.got} == {5}


def test_redis_is_stopped_and_started_again(shop: RunningShop) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        shop.redis.stop()
        load.wait_until_degraded(*STORES)
        shop.redis = EmbeddedRedis(shop.redis_config)
        shop.redis.start()
        recovered_s = load.wait_until_whole()
    assert_all_answered(load)
    print(f"whole again {recovered_s:.1f} s after Redis came back")


def test_redis_accepts_and_never_answers(shop: RunningShop, stopped: list[psutil.Process]) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        process = shop.redis_process()
        stopped.append(process)
        process.suspend()
        load.wait_until_degraded(*STORES)
        process.resume()
        load.wait_until_whole()
    assert_all_answered(load)


def test_a_slow_store_costs_features_not_answers(shop: RunningShop, stopped: list[psutil.Process]) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        process = shop.redis_process()
        stopped.append(process)
        for _ in range(10):  # it answers a little, then sleeps for longer than a request may wait
            process.suspend()
            load.wait(lambda got: len(got) >= 6, "answers")
            process.resume()
        load.wait_until_whole()
    assert_all_answered(load)


@pytest.mark.parametrize(("deployment", "lacks"), [("Ranking", "ranking"), ("Retrieval", "retrieval")])
def test_a_replica_is_killed(shop: RunningShop, deployment: str, lacks: str) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        shop.kill(deployment)
        load.wait_until_degraded(lacks, count=1)
        recovered_s = load.wait_until_whole()
    assert_all_answered(load)
    print(f"whole again {recovered_s:.1f} s after {deployment} was killed")


def test_a_stage_that_always_misses_its_deadline_is_left_out(shop: RunningShop, stopped: list[psutil.Process]) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        for process in shop.replicas("Ranking"):
            stopped.append(process)
            process.suspend()
        load.wait_until_degraded("ranking")
        for process in stopped:
            process.send_signal(signal.SIGCONT)
        load.wait_until_whole()
    assert_all_answered(load)


def test_deployments_grow_while_requests_wait(shop: RunningShop) -> None:
    def num_replicas() -> int:
        return sum(len(shop.replicas(name)) for name in ("Gateway", "Retrieval", "Ranking"))

    with Load(shop.url, num_clients=32) as load:
        load.wait(lambda got: num_replicas() > NUM_REPLICAS, "a further replica")
        load.wait_until_whole()
    assert_all_answered(load)


def test_more_clients_than_can_be_served_are_sent_away(shop: RunningShop) -> None:
    bodies = [json.dumps({"user_id": user, "k": 5}).encode() for user in USERS]
    requests = [http_request("/v1/recommendations", body) for body in bodies]
    with Load(shop.url) as calm:
        calm.wait_until_whole()
    overload = closed_loop(Target(shop.port, requests, whole=b""), NUM_TOO_MANY, OVERLOAD_S)
    print(
        f"{len(overload.latencies_ms)} accepted, p50 {overload.percentile_ms(50):.0f} ms, "
        f"p99 {overload.percentile_ms(99):.0f} ms; {overload.num_shed} sent away"
    )
    assert overload.num_shed > 0
    assert not overload.errors
    with Load(shop.url) as calm:
        calm.wait_until_whole()
    assert_all_answered(calm)


@pytest.mark.parametrize(("deployment", "most"), [("Ranking", 1), ("Gateway", 2)])  # so that there are CPUs for two
def test_scaling_down_loses_no_request(shop: RunningShop, deployment: str, most: int) -> None:
    def has(replicas: int) -> Callable[[object], bool]:
        return lambda _: len(shop.replicas(deployment)) == replicas

    with Load(shop.url, num_clients=16) as load:
        load.wait_until_whole()
        shop.scale(deployment, 2, 2)
        load.wait(has(2), "two replicas")
        load.wait_until_whole()
        shop.scale(deployment, 1, 1)
        load.wait(has(1), "one replica")
        load.wait_until_whole()
        shop.scale(deployment, 2 if deployment == "Gateway" else 1, most)
    assert_all_answered(load)


def test_one_of_two_gateways_is_killed(shop: RunningShop) -> None:
    with Load(shop.url) as load:
        load.wait(lambda _: shop.num_routed() == 2, "two gateways")
        load.wait_until_whole()
        shop.replicas("Gateway")[0].kill()
        load.wait(lambda _: len(shop.replicas("Gateway")) == 1, "its end")
        load.wait(lambda _: len(shop.replicas("Gateway")) == shop.num_routed() == 2, "its successor")
        load.wait_until_whole()
    lost = [one for one in load.got if one.status != 200]
    print(f"{len(lost)} of {len(load.got)} requests lost: {load.statuses}")
    assert len(lost) <= load.num_clients  # those that it had


def test_all_gateways_are_killed(shop: RunningShop) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        shop.kill("Gateway")
        recovered_s = load.wait_until_whole()
    assert set(load.statuses) <= {0, 200, 500, 502, 503}
    print(f"whole again {recovered_s:.1f} s after both gateways were killed; {load.statuses}")
