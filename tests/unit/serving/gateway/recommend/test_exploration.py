"""Who explores, how exploring lists are drawn, and the record of what was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from contracts import columns as c
from contracts import records as r
from contracts.bundle import Bundle
from contracts.options import NO_CAP, Order
from recommender_api.requests import Diversity, RecommendationRequest
from serving.gateway.recommend.config import ExplorationConfig
from serving.gateway.recommend.exploration import Explorer, falls_in_share
from serving.gateway.recommend.reranking import seed_of
from serving.watching.metrics import IMPRESSIONS
from tests.fixtures.served_bundle import NOW
from tests.unit.serving.gateway.conftest import Shop

VISITORS = [f"u{number}" for number in range(4_000)]
EVERYBODY = {"share": 1.0, "temperature": 2.0, "epsilon": 0.1}


def test_a_share_is_always_the_same_visitors() -> None:
    tenth = [falls_in_share(0.1, "salt", visitor) for visitor in VISITORS]
    assert tenth == [falls_in_share(0.1, "salt", visitor) for visitor in VISITORS]
    assert sum(tenth) / len(tenth) == pytest.approx(0.1, abs=0.02)
    half = [falls_in_share(0.5, "salt", visitor) for visitor in VISITORS]
    assert all(wider for small, wider in zip(tenth, half, strict=True) if small)


def test_another_salt_picks_independently() -> None:
    one = np.array([falls_in_share(0.5, "one", visitor) for visitor in VISITORS])
    other = np.array([falls_in_share(0.5, "other", visitor) for visitor in VISITORS])
    assert (one & other).mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("share", "explores"), [(0.0, False), (1.0, True)])
def test_nobody_or_everybody(share: float, explores: bool) -> None:
    explorer = Explorer(ExplorationConfig(share=share))
    assert all((explorer(RecommendationRequest(user_id=one), "r") is not None) is explores for one in VISITORS[:50])


def test_who_explores_is_the_user_then_the_session_then_the_request() -> None:
    explorer = Explorer(ExplorationConfig(share=0.5))

    def explores(request_id: str, **who: str) -> bool:
        return explorer(RecommendationRequest(**who), request_id) is not None  # type: ignore[arg-type]

    for visitor in VISITORS[:50]:
        user, session, request = (falls_in_share(0.5, "exploration", kind + visitor) for kind in ("u:", "s:", ""))
        assert explores("r", user_id=visitor, session_id="s") == user
        assert explores("r", session_id=visitor) == session
        assert explores(visitor) == request


def test_an_exploring_list_is_sampled_whatever_the_request_wishes() -> None:
    request = RecommendationRequest(user_id="u1", seed=7, diversity=Diversity(mmr=0.5, max_per_category_l1=1))
    draw = Explorer(ExplorationConfig(**EVERYBODY))(request, "r-1")
    assert draw == (Order.SAMPLED, 2.0, 0.1, 0.0, (NO_CAP, NO_CAP), seed_of("r-1"))


def recorded(folder: Path) -> pa.Table:
    table = ds.dataset(folder / "impressions", partitioning="hive").to_table()
    return table.sort_by([(c.REQUEST_ID, "ascending"), (c.POSITION, "ascending")])


async def ask(shop: Shop, request_id: str, **body: Any) -> dict[str, Any]:
    transport = httpx.ASGITransport(app=shop.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        answer = await client.post("/v1/recommendations", json=body, headers={"x-request-id": request_id})
    assert answer.status_code == 200
    return dict(answer.json())


async def test_what_was_shown_is_recorded(bundle: Bundle, raw_dir: Path) -> None:
    shop = Shop(bundle, raw_dir)
    shown = await ask(shop, "r-1", user_id="u1", device_type="mobile", k=3)
    other = await ask(shop, "r-2", session_id="s9", k=2)
    await shop.impressions.flush()
    table = recorded(shop.records)
    assert set(r.IMPRESSIONS.names) <= set(table.column_names)
    assert table[c.REQUEST_ID].to_pylist() == [shown["request_id"]] * 3 + [other["request_id"]] * 2
    assert table[c.USER_ID].to_pylist() == ["u1"] * 3 + [None] * 2
    assert table[c.SESSION_ID].to_pylist() == [None] * 3 + ["s9"] * 2
    assert table[c.ITEM_ID].to_pylist()[:3] == [item["item_id"] for item in shown["recommendations"]]
    assert table[c.POSITION].to_pylist() == [0, 1, 2, 0, 1]
    assert set(table[c.TIMESTAMP].to_pylist()) == {NOW}
    assert table[c.DEVICE_TYPE].to_pylist() == ["mobile"] * 3 + [None] * 2
    assert set(table[c.ARM].to_pylist()) == {"production"}
    assert set(table[c.BUNDLE_VERSION].to_pylist()) == {bundle.version}
    assert table[c.EXPLORED].to_pylist() == [False] * 5
    for unknown in (c.CLICKED, c.PROPENSITY, r.EPSILON, r.TEMPERATURE, r.NUM_RANKED):
        assert table[unknown].null_count == 5


async def test_exploring_lists_are_recorded_with_how_they_were_drawn(bundle: Bundle, raw_dir: Path) -> None:
    shop = Shop(bundle, raw_dir, exploration=EVERYBODY)
    answer = await ask(shop, "r-1", user_id="u1", k=4, explain=True)
    await shop.impressions.flush()
    table = recorded(shop.records)
    assert table[c.EXPLORED].to_pylist() == [True] * 4
    told = [item["explanation"]["propensity"] for item in answer["recommendations"]]
    assert table[c.PROPENSITY].to_pylist() == pytest.approx(told)
    assert all(0 < propensity < 1 for propensity in told)
    assert table[r.EPSILON].to_pylist() == [0.1, None, None, None]
    assert table[r.TEMPERATURE].to_pylist() == [2.0, None, None, None]
    assert table[r.NUM_RANKED].to_pylist() == [answer["explanation"]["num_ranked"], None, None, None]


async def test_rankings_of_given_items_show_nothing(shop: Shop, client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/rankings", json={"candidate_ids": ["i1", "i2"]})
    assert answer.status_code == 200
    await shop.impressions.flush()
    assert not shop.records.exists()


async def test_a_full_buffer_loses_rows_and_counts_them(bundle: Bundle, raw_dir: Path) -> None:
    shop = Shop(bundle, raw_dir, impressions={"max_rows": 1_000})
    for number in range(34):  # of 30 rows each
        await ask(shop, f"r-{number}", k=30)
    await shop.impressions.flush()
    counted = shop.telemetry._recorder.take().added
    assert (counted[IMPRESSIONS, ("written",)], counted[IMPRESSIONS, ("lost",)]) == (990, 30)
    assert len(recorded(shop.records)) == 990


async def test_a_disk_that_fails_loses_rows_and_counts_them(bundle: Bundle, raw_dir: Path) -> None:
    shop = Shop(bundle, raw_dir)
    shop.records.parent.mkdir()
    shop.records.write_text("a file where the folder should be")
    await ask(shop, "r-1", k=5)
    await shop.impressions.flush()
    assert shop.telemetry._recorder.take().added[IMPRESSIONS, ("lost",)] == 5
