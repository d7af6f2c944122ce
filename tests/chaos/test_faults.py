"""Faults under load on a real cluster: everybody is answered, answers say what is missing, and all comes back."""

from __future__ import annotations

import json
import signal

import psutil
import pytest

from benchmarks.load import Target, closed_loop, http_request
from serving.stores.embedded import EmbeddedRedis
from tests.chaos.conftest import Shop
from tests.chaos.load import USERS, Load

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]
NUM_TOO_MANY, OVERLOAD_S = 600, 10
NUM_REPLICAS = 4
"""Two gateways, one of each other deployment."""
STORES = ("user_features", "recent_items", "seen_filter")


def assert_all_answered(load: Load) -> None:
    assert set(load.statuses) == {200}
    assert {one.num_items for one in load.got} == {5}


def test_redis_is_stopped_and_started_again(shop: Shop) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        shop.redis.stop()
        load.wait_until_degraded(*STORES)
        shop.redis = EmbeddedRedis(shop.redis_config)
        shop.redis.start()
        recovered_s = load.wait_until_whole()
    assert_all_answered(load)
    print(f"whole again {recovered_s:.1f} s after Redis came back")


def test_redis_accepts_and_never_answers(shop: Shop, stopped: list[psutil.Process]) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        process = shop.redis_process()
        stopped.append(process)
        process.suspend()
        load.wait_until_degraded(*STORES)
        process.resume()
        load.wait_until_whole()
    assert_all_answered(load)


def test_a_slow_store_costs_features_not_answers(shop: Shop, stopped: list[psutil.Process]) -> None:
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
def test_a_replica_is_killed(shop: Shop, deployment: str, lacks: str) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        shop.kill(deployment)
        load.wait_until_degraded(lacks, count=1)
        recovered_s = load.wait_until_whole()
    assert_all_answered(load)
    print(f"whole again {recovered_s:.1f} s after {deployment} was killed")


def test_a_stage_that_always_misses_its_deadline_is_left_out(shop: Shop, stopped: list[psutil.Process]) -> None:
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


def test_deployments_grow_while_requests_wait(shop: Shop) -> None:
    def num_replicas() -> int:
        return sum(len(shop.replicas(name)) for name in ("Gateway", "Retrieval", "Ranking"))

    with Load(shop.url, num_clients=32) as load:
        load.wait(lambda got: num_replicas() > NUM_REPLICAS, "a further replica")
        load.wait_until_whole()
    assert_all_answered(load)


def test_more_clients_than_can_be_served_are_sent_away(shop: Shop) -> None:
    bodies = [json.dumps({"user_id": user, "k": 5}).encode() for user in USERS]
    target = Target(shop.port, [http_request("/v1/recommendations", body) for body in bodies])
    overload = closed_loop(target, NUM_TOO_MANY, OVERLOAD_S)
    assert overload.num_shed > 0
    assert len(overload.latencies_ms) > 0
    assert set(overload.errors) <= {"degraded"}, overload.errors
    print(
        f"{len(overload.latencies_ms)} accepted and whole, p99 {overload.percentile_ms(99):.0f} ms; "
        f"{overload.num_shed} sent away; {dict(overload.errors)}"
    )
    with Load(shop.url) as calm:
        calm.wait_until_whole()
    assert_all_answered(calm)


def test_the_gateway_is_killed(shop: Shop) -> None:
    with Load(shop.url) as load:
        load.wait_until_whole()
        shop.kill("Gateway")
        load.wait(lambda got: any(one.status != 200 for one in got), "a request that was lost")
        recovered_s = load.wait_until_whole()
    assert set(load.statuses) <= {0, 200, 500, 502, 503}
    print(f"whole again {recovered_s:.1f} s after the gateway was killed; {load.statuses}")
