"""Context, user lookup, user transform and history, with hand-worked values."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.errors import StoreError
from contracts.user_records import RecentItems, UserRecords
from serving.running.config import OnError, PipelineConfig
from serving.stages.history import HistoryBuilder
from serving.stages.query_features import QueryFeatureBuilder, context_values, user_values
from serving.stages.user_lookup import UserLookup
from tests.fixtures.fake_stores import FakeRecentItems, FakeUserFeatures, Fault, user_columns
from tests.fixtures.served_bundle import DAY_S, NOW, request_batch

USERS = {"u1": (30.0, "F", "books", "shoes"), "u2": (None, None, "toys", None)}


def lookup(users: FakeUserFeatures, recents: FakeRecentItems, **config: OnError) -> UserLookup:
    return UserLookup(users, recents, PipelineConfig(**config))


def test_missing_context_is_filled_in_and_encoded(bundle: Bundle) -> None:
    batch = request_batch(
        4,
        context={c.DEVICE_TYPE: ("tablet", None, "toaster", "desktop")},
        context_time=np.array([0, NOW - 5, 0, NOW + 7], dtype=np.int64),
    )
    values = context_values(batch)
    codes = bundle.transforms.encode(c.DEVICE_TYPE, values[c.DEVICE_TYPE])
    assert codes.tolist() == [3, 0, 0, 1]  # desktop, mobile, tablet are 1, 2, 3
    assert list(values[c.TIMESTAMP]) == [NOW, NOW - 5, NOW, NOW + 7]


def test_user_lookup_puts_each_user_in_its_place() -> None:
    recents = FakeRecentItems({"u:u1": [("i1", 1), ("i2", 2)], "s:s1": [("i3", 3)]})
    batch = request_batch(5, user_ids=("u2", None, "u1", "u2", "nobody"), session_ids=("s1", "s1", None, None, None))
    records = asyncio.run(lookup(FakeUserFeatures(USERS), recents)(batch))
    assert records.known.tolist() == [True, False, True, True, False]
    np.testing.assert_array_equal(records.columns[c.AGE], [np.nan, np.nan, 30.0, np.nan, np.nan])
    assert records.columns[c.GENDER] == (None, None, "F", None, None)
    assert records.columns[c.TOP_CATEGORY] == ("toys", None, "books", "toys", None)
    assert records.columns[c.TOP_CATEGORY_LONG] == (None, None, "shoes", None, None)
    # A session counts only where there is no user.
    nothing = RecentItems()
    assert records.recent == (
        nothing,
        RecentItems(("i3",), (3,)),
        RecentItems(("i2", "i1"), (2, 1)),
        nothing,
        nothing,
    )
    assert records.degraded == ((),) * 5


def test_a_failing_store_leaves_the_other_one_standing() -> None:
    recents = FakeRecentItems({"u:u1": [("i1", 1)]})
    users = FakeUserFeatures(USERS, Fault(fails=True))
    records = asyncio.run(lookup(users, recents)(request_batch(2, user_ids=("u1", None))))
    assert records.degraded == (("user_features",), ())
    assert records.known.tolist() == [False, False]
    assert records.recent[0].item_ids == ("i1",)


@pytest.mark.parametrize("fault", [Fault(fails=True), Fault(hangs=True)])
def test_policy_fail_names_the_store(fault: Fault) -> None:
    stage = lookup(FakeUserFeatures(USERS, fault), FakeRecentItems({}), on_error=OnError(query_features="fail"))
    batch = request_batch(1, budget_ms=np.array([20], dtype=np.float32))
    with pytest.raises(StoreError, match="user_features: the store did not answer in time; the policy is 'fail'"):
        asyncio.run(stage(batch))


def test_user_codes(bundle: Bundle) -> None:
    batch = request_batch(3, user_ids=("u1", "u3", "nobody"))
    records = UserRecords(
        known=np.array([True, False, True]),
        columns=user_columns([(None, "M", "toys", None), (None, "F", None, "books"), (None, None, "unheard of", None)]),
        recent=(RecentItems(),) * 3,
        degraded=((),) * 3,
    )
    values = user_values(batch, records)
    codes = {name: bundle.transforms.encode(name, values[name]).tolist() for name in values if name != c.AGE}
    assert codes[c.USER_ID] == [1, 0, 0]  # u3 has a code, but the store does not know it; nobody has none
    assert codes[c.GENDER] == [2, 1, 0]
    assert codes[c.TOP_CATEGORY] == [3, 0, 0]
    assert codes[c.TOP_CATEGORY_LONG] == [0, 1, 0]


def test_history_is_stored_items_then_those_of_the_request() -> None:
    rows = {"i1": 0, "i2": 1, "i3": 2, "i4": 3}
    batch = request_batch(1, recent_items=(("i2", "unknown", "i4"),))
    stored = RecentItems(("i3", "gone", "i1"), (NOW - 60, NOW - 61, NOW - 4_000))
    history = HistoryBuilder(rows, length=5, days=30)(batch, (stored,))
    assert history.rows.tolist() == [[3, 1, 2, 0, -1]]
    assert history.age_s.tolist() == [[0, 0, 60, 4_000, 0]]
    assert history.same_session.tolist() == [[True, True, True, False, False]]


def test_history_keeps_the_newest_and_drops_the_old_and_the_future() -> None:
    rows = {f"i{number}": number for number in range(9)}
    stored = RecentItems(("i5", "i4", "i3", "i2"), (NOW + 1, NOW, NOW - 30 * DAY_S, NOW - 30 * DAY_S - 1))
    builder = HistoryBuilder(rows, length=9, days=30)
    assert [row for row in builder(request_batch(1), (stored,)).rows[0] if row >= 0] == [4, 3]
    short = HistoryBuilder(rows, length=2, days=30)
    assert short(request_batch(1, recent_items=(("i6", "i7", "i8"),)), (stored,)).rows.tolist() == [[8, 7]]


def test_no_history_at_all() -> None:
    history = HistoryBuilder({"i1": 0}, length=0, days=1)(request_batch(2), (RecentItems(("i1",), (NOW,)),) * 2)
    assert history.rows.shape == (2, 0)


def test_history_is_as_long_as_the_longest_model_reads(bundle: Bundle) -> None:
    history = HistoryBuilder.open(bundle)(request_batch(1, recent_items=(("i1",) * 20,)), (RecentItems(),))
    assert history.rows.tolist() == [[0, 0, 0, 0]]


def test_model_inputs_by_hand(bundle: Bundle) -> None:
    """NOW is a Wednesday, 14:13 UTC."""
    batch = request_batch(2, user_ids=("u1", None), context={c.DEVICE_TYPE: ("mobile", None)})
    records = asyncio.run(lookup(FakeUserFeatures(USERS), FakeRecentItems({}))(batch))
    features = QueryFeatureBuilder.open(bundle)(batch, records).features
    # user, gender, age 25-35, top category, long-term category, device; then nobody
    assert features.columns.codes.tolist() == [[1, 1, 3, 1, 2, 2], [0, 0, 0, 0, 0, 0]]
    hour, weekday = 2 * math.pi * 14 / 24, 2 * math.pi * 2 / 7
    context = [math.sin(hour), math.cos(hour), math.sin(weekday), math.cos(weekday)]
    np.testing.assert_allclose(features.columns.numbers, [[-1.0, *context], [0.0, *context]], atol=1e-6)
    assert features.now.tolist() == [NOW, NOW]
