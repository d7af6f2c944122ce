"""How long it takes until answers are whole again after a part of a server was killed; printed, not judged.

python -m pytest -s tests/chaos/recovery.py prints the figures for the guide.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.chaos.load import Got, Load
from tests.e2e.programs import processes_of
from tests.fixtures.running_shop import PROXY, RunningShop, running_shop

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE_S = 240.0
CONTROLLER, GATEWAYS, HAPROXY = "ray::ServeController", "ServeReplica:recommender:Gateway", PROXY


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    with running_shop(tmp_path_factory.mktemp("recovery") / "var", "tiered", "service.budget_ms=400") as served:
        yield served


def wait_until_back(shop: RunningShop, counts: dict[str, int]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(len(shop.processes(title)) < count for title, count in counts.items()):
        assert time.monotonic() < deadline, f"not all of {counts} came back"
        time.sleep(0.2)


def is_whole(one: Got) -> bool:
    return one.status == 200 and not one.degraded


@pytest.mark.parametrize(
    "titles",
    [(CONTROLLER,), (GATEWAYS,), (HAPROXY,), (CONTROLLER, GATEWAYS), (CONTROLLER, GATEWAYS, HAPROXY)],
    ids=["controller", "gateways", "HAProxy", "controller and gateways", "all three"],
)
def test_answers_are_whole_again(shop: RunningShop, titles: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    with Load(shop.url, num_clients=2) as load:
        load.wait_until_whole()
        killed = {title: shop.processes(title) for title in titles}
        assert all(killed.values())
        began, seen = time.monotonic(), len(load.got)
        for victims in killed.values():
            for victim in victims:
                victim.kill()
        wait_until_back(shop, {title: len(victims) for title, victims in killed.items()})
        load.wait_until_whole(patience_s=PATIENCE_S)
    whole = [began, *(one.at for one in load.got[seen:] if is_whole(one))]
    longest_s = max(later - earlier for earlier, later in pairwise(whole))
    lost = sum(not is_whole(one) for one in load.got[seen:])
    print(f"\n{request.node.callspec.id} killed: {longest_s:.1f} s without a whole answer, {lost} requests in between")
    assert load.statuses.keys() <= {0, 200, 500, 503}


def test_a_server_whose_head_process_is_gone_ends_and_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("head") / "var"
    with running_shop(folder, "fused", "service.budget_ms=400", stops=False) as shop:
        (head,) = shop.processes("gcs_server")
        killed_at = time.monotonic()
        head.kill()
        assert shop.program.finish() == 2
        print(f"\nhead process killed: the program ended after {time.monotonic() - killed_at:.1f} s")
        assert "error: Ray's gcs_server ended" in shop.program.output
        assert processes_of(folder) == []
