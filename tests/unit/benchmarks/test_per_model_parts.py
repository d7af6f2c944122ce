"""Hand-worked values for those of the fourteen models that the product's stages fold into others."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.peers.per_model.parts import ContextTransform, ItemDecoder, ItemTransform, Unroll, UserInputTransform
from contracts.bundle import Bundle
from contracts.features import NUM_ITEM_AGE_BUCKETS
from contracts.messages import Candidates
from serving.pipeline import Fallbacks
from serving.stages.item_lookup import ItemLookup
from serving.stages.user_lookup import UserRecords
from serving.stores.recent import RecentItems
from tests.fixtures.served_bundle import DAY_S, NOW, request_batch


def test_1b_user_inputs(bundle: Bundle) -> None:
    """The tiny shop: mean age 40, spread 10; bins start at 18, 25, 35, 50, 65."""
    records = UserRecords(
        known=np.array([True, False]),
        ages=np.array([25.0, np.nan]),
        genders=("M", None),
        top_category=("shoes", None),
        top_category_long=(None, "toys"),
        recent=(RecentItems(("i3",), (NOW - 60,)), RecentItems()),
        degraded=((), ()),
    )
    inputs = UserInputTransform(bundle)(request_batch(2, recent_items=((), ("i5",))), records)
    assert inputs.codes.user.tolist() == [1, 0]
    assert inputs.codes.gender.tolist() == [2, 0]
    assert inputs.codes.top_category.tolist() == [2, 0]
    assert inputs.codes.top_category_long.tolist() == [0, 3]
    assert inputs.age_norm.tolist() == [-1.5, 0.0]
    assert inputs.age_binned.tolist() == [3, 0]
    assert inputs.history.rows[:, 0].tolist() == [2, 4]


def test_1c_context_inputs(bundle: Bundle) -> None:
    """1970-01-01 was a Thursday: weekday 3; 18 hours after midnight the hour stands at three quarters."""
    batch = request_batch(1, device_types=("tablet",), context_time=np.array([18 * 3600 + 59], dtype=np.int64))
    inputs = ContextTransform(bundle.transforms)(batch)
    assert inputs.device.tolist() == [3]
    weekday = 2 * math.pi * 3 / 7
    np.testing.assert_allclose(inputs.cyclic, [[-1, 0, math.sin(weekday), math.cos(weekday)]], atol=1e-6)


def test_5b_item_inputs(bundle: Bundle) -> None:
    """Log prices have mean 3 and spread 1; an item without a price is the mean; i39 has no training positive."""
    rows = np.array([3, 2, 38], dtype=np.int32)
    inputs = ItemTransform(bundle)(rows, ItemLookup.open(bundle).take(rows))
    assert inputs.encoded_id.tolist() == [4, 3, 0]
    np.testing.assert_allclose(inputs.continuous[:, 0], [math.log(4) - 3, 0, math.log(39) - 3], rtol=1e-6)
    np.testing.assert_array_equal(inputs.continuous[0], bundle.items.continuous[3])


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
