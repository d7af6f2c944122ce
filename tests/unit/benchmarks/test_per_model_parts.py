"""Hand-worked values for those of the fourteen models that the product's stages fold into others."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.peers.per_model.parts import (
    ContextTransform,
    ItemDecoder,
    ItemTransform,
    StoredItems,
    Unroll,
    UserInputTransform,
)
from contracts import columns as c
from contracts.bundle import Bundle
from contracts.features import NUM_ITEM_AGE_BUCKETS
from contracts.messages import Candidates
from contracts.user_records import RecentItems, UserRecords
from serving.pipeline import Fallbacks
from tests.fixtures.fake_stores import user_columns
from tests.fixtures.served_bundle import DAY_S, NOW, request_batch


def test_1b_user_inputs(bundle: Bundle) -> None:
    """The tiny shop: mean age 40, spread 10; bins start at 18, 25, 35, 50, 65."""
    records = UserRecords(
        known=np.array([True, False]),
        columns=user_columns([(25.0, "M", "shoes", None), (None, None, None, "toys")]),
        recent=(RecentItems(("i3",), (NOW - 60,)), RecentItems()),
        degraded=((), ()),
    )
    inputs = UserInputTransform(bundle)(request_batch(2, recent_items=((), ("i5",))), records)
    assert inputs.part.names.codes == (c.USER_ID, c.GENDER, "age_binned", c.TOP_CATEGORY, c.TOP_CATEGORY_LONG)
    assert inputs.part.columns.codes.tolist() == [[1, 2, 3, 2, 0], [0, 0, 0, 0, 3]]
    assert inputs.part.names.numbers == ("age_norm",)
    assert inputs.part.columns.numbers.tolist() == [[-1.5], [0.0]]
    assert inputs.history.rows[:, 0].tolist() == [2, 4]


def test_1c_context_inputs(bundle: Bundle) -> None:
    """1970-01-01 was a Thursday: weekday 3; 18 hours after midnight the hour stands at three quarters."""
    told = {c.DEVICE_TYPE: ("tablet",)}
    batch = request_batch(1, context=told, context_time=np.array([18 * 3600 + 59], dtype=np.int64))
    inputs = ContextTransform(bundle.transforms)(batch).columns
    assert inputs.codes.tolist() == [[3]]
    weekday = 2 * math.pi * 3 / 7
    np.testing.assert_allclose(inputs.numbers, [[-1, 0, math.sin(weekday), math.cos(weekday)]], atol=1e-6)


def test_5b_item_inputs(bundle: Bundle) -> None:
    """Log prices have mean 3 and spread 1; an item without a price is the mean; i39 has no training positive."""
    rows = np.array([3, 2, 38], dtype=np.int32)
    inputs = ItemTransform(bundle)(rows, StoredItems(bundle)(rows))
    assert inputs.encoded_id.tolist() == [4, 3, 0]
    np.testing.assert_allclose(inputs.columns.numbers[:, 0], [math.log(4) - 3, 0, math.log(39) - 3], rtol=1e-6)
    np.testing.assert_array_equal(inputs.columns.codes, bundle.items.columns.codes[rows])


def test_6a_unrolled(bundle: Bundle) -> None:
    """The last item is launched a day after NOW, the one before two days before it; all others were always there."""
    queries = Fallbacks.open(bundle, 1).anonymous(request_batch(2)).features
    lengths = np.array([1, 2], dtype=np.int32)
    candidates = Candidates(bundle.version, np.array([38, 39, 0], dtype=np.int32), np.zeros(3, np.float32), lengths)
    unrolled = Unroll(bundle)(queries, candidates)
    assert unrolled.owners.tolist() == [0, 1, 1]
    assert unrolled.ages.tolist() == [2, 0, NUM_ITEM_AGE_BUCKETS - 1]
    assert bundle.items.launched_at[38] == NOW - 2 * DAY_S


def test_7_decoded_ids(bundle: Bundle) -> None:
    lengths = np.array([2], dtype=np.int32)
    ranked = Candidates(bundle.version, np.array([39, 0], dtype=np.int32), np.zeros(2, np.float32), lengths)
    assert ItemDecoder(bundle)(ranked) == ["i40", "i1"]
