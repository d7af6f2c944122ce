"""Feast's online reads are slow, everything else in the same Redis is as fast as ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.load import Load
from tests.fixtures.running_shop import RunningShop, running_shop
from tests.fixtures.slow_proxy import SlowProxy

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]
FEAST = b"HMGET"
"""The command that reads Feast's rows; nothing else in a request uses it."""
TOO_SLOW_S, SLOW_S = 1.0, 0.03


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningShop, SlowProxy]]:
    proxy = SlowProxy(FEAST)
    folder = tmp_path_factory.mktemp("slow-feast") / "var"
    with running_shop(folder, "tiered", "service.budget_ms=400", between=proxy.before) as shop:
        yield shop, proxy


def test_reads_slower_than_a_request_may_wait_cost_user_features_only(served: tuple[RunningShop, SlowProxy]) -> None:
    shop, proxy = served
    with Load(shop.url) as load:
        load.wait_until_whole()
        proxy.delay_s = TOO_SLOW_S
        load.wait_until_degraded("user_features")
        assert proxy.num_held > 0
        proxy.delay_s = 0.0
        recovered_s = load.wait_until_whole()
    assert {one.status for one in load.got} == {200}
    assert {one.num_items for one in load.got} == {5}
    assert {one.degraded for one in load.got} == {(), ("user_features",)}
    print(f"whole again {recovered_s:.1f} s after Feast was fast again")


def test_reads_that_are_slow_but_in_time_cost_nothing(served: tuple[RunningShop, SlowProxy]) -> None:
    shop, proxy = served
    with Load(shop.url) as load:
        load.wait_until_whole()
        held, proxy.delay_s = proxy.num_held, SLOW_S
        load.wait(lambda got: len(got) >= 20, "answers while Feast is slow")
        load.wait_until_whole()
        assert proxy.num_held > held
        proxy.delay_s = 0.0
    assert {one.status for one in load.got} == {200}
