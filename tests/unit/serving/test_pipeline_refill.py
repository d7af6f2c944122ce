"""Lists of active users are filled up in further rounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from contracts.bundle import Bundle
from contracts.messages import RequestBatch
from contracts.options import ItemFilters, Ragged
from serving.pipeline import Fallbacks
from serving.running.calls import ThreadCall
from serving.stages.config import RetrievalConfig
from serving.stages.retrieval import Retrieval
from tests.fixtures.fake_stores import TODAY, FakeSeenRings
from tests.fixtures.served_bundle import request_batch
from tests.unit.serving.test_pipeline import Kitchen, broken


class ActiveUser(Kitchen):
    """Retrieval gives eight candidates; u1 has seen 30 of the 40 items today."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.breaks(retrieval=ThreadCall(Retrieval.open(bundle, RetrievalConfig(retrieval_k=8)), self.thread))
        self.rings = FakeSeenRings({"u:u1": {f"i{number}": TODAY for number in range(1, 31)}}, TODAY)


def two_visitors(**changed: Any) -> RequestBatch:
    return request_batch(2, **{"user_ids": ("u1", None), "k": np.array([6, 3], dtype=np.int32)} | changed)


def test_an_active_user_gets_a_full_list_of_unseen_items(bundle: Bundle) -> None:
    kitchen = ActiveUser(bundle)

    result = kitchen.run(two_visitors())

    assert result.ranked.lengths.tolist() == [6, 3]
    assert (result.ranked.rows[:6] >= 30).all()
    assert result.degraded == ((), ())
    assert result.retrieved.lengths.sum() == result.scored.lengths.sum() + result.removed["seen"]
    assert result.retrieved.lengths[1] == result.scored.lengths[1] == 8
    anonymous = kitchen.run(two_visitors(user_ids=(None, None)))
    assert anonymous.ranked.rows[-3:].tolist() == result.ranked.rows[-3:].tolist()


def test_an_active_users_filters_hold_in_every_round(bundle: Bundle) -> None:
    filters = ItemFilters(np.array([0], dtype=np.int32), Ragged.of([[31, 33]]), {}, {})

    result = ActiveUser(bundle).run(two_visitors(filters=filters))

    assert result.ranked.lengths.tolist() == [6, 3]
    assert not {31, 33} & set(result.ranked.rows[:6].tolist())


def test_who_has_seen_everything_gets_an_empty_list(bundle: Bundle) -> None:
    kitchen = ActiveUser(bundle)
    kitchen.rings = FakeSeenRings({"u:u1": {f"i{number}": TODAY for number in range(1, 41)}}, TODAY)

    result = kitchen.run(two_visitors())

    assert result.ranked.lengths.tolist() == [0, 3]
    assert result.degraded == ((), ())
    assert result.removed == {"seen": 39}  # one of the 40 items is not launched


def test_popular_items_are_refilled_too(bundle: Bundle) -> None:
    kitchen = ActiveUser(bundle)
    kitchen.breaks(retrieval=broken)
    kitchen.fallbacks = Fallbacks.open(bundle, 8)

    result = kitchen.run(two_visitors())

    assert result.ranked.lengths.tolist() == [6, 3]
    assert (result.ranked.rows[:6] >= 30).all()


def test_a_list_stays_short_when_there_is_no_second_answer(bundle: Bundle) -> None:
    kitchen = ActiveUser(bundle)
    first = kitchen.stages.retrieval

    async def once(*messages: Any, timeout_s: float) -> Any:
        if len(messages[0]) == 1:
            raise TimeoutError
        return await first(*messages, timeout_s=timeout_s)

    kitchen.breaks(retrieval=once)

    result = kitchen.run(two_visitors())

    assert result.ranked.lengths[0] < 6
    assert result.ranked.lengths[1] == 3
    assert result.degraded == ((), ())
    assert result.retrieved.lengths.tolist() == [8, 8]
