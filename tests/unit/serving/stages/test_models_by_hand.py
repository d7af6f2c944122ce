"""Hand-worked values for the reference's models that no other test of the stages works out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from contracts.bundle import Bundle
from contracts.features import NUM_ITEM_AGE_BUCKETS
from contracts.messages import Candidates, QueryFeatures
from serving.pipeline import Fallbacks
from serving.stages.content_lookup import ContentLookup
from serving.stages.item_lookup import ItemLookup
from serving.stages.query_tower import QueryTower
from serving.stages.ranking import Ranking
from serving.stages.single_models import ContextTransform, ItemDecoder, ItemTransform, Unroll, UserInputTransform
from serving.stages.torch_scorer import TorchScorer
from serving.stages.user_lookup import UserRecords
from serving.stores.recent import RecentItems
from tests.fixtures.served_bundle import DAY_S, NOW, request_batch
from training.models.inputs import ItemTensors
from training.models.loading import build_model
from training.models.schema import ModelSchema


def queries_of(bundle: Bundle, **changed: Any) -> QueryFeatures:
    size = len(changed.get("device_types", (None,)))
    return Fallbacks.open(bundle, 1).anonymous(request_batch(size, **changed)).features


def silent(bundle: Bundle, kind: str, **config: Any) -> Any:
    """A model of which every weight is 0."""
    schema = ModelSchema.of(bundle.transforms, bundle.items)
    encoded_id = np.asarray(bundle.array("ranker/encoded_id"))
    model = build_model(kind, {"history_length": 0, **config}, schema, ItemTensors(bundle.items, encoded_id))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model.eval()


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


def test_2_query_tower(bundle: Bundle) -> None:
    """One linear layer that reads the first place of the device's embedding: 3 · 7 + 1, over a temperature of 2."""
    model = silent(bundle, "two_tower", output_dim=2, hidden_dims=[], temperature=2.0, normalise=False)
    tower = model.query_tower
    device = len(tower.fields.tables) - 1
    with torch.no_grad():
        tower.fields.tables[device].weight[2, 0] = 7  # mobile
        place = tower.fields.width - tower.fields.tables[device].weight.shape[1]
        tower.mlp[-1].weight[1, place] = 3
        tower.mlp[-1].bias[1] = 1
    embeddings = QueryTower(model)(queries_of(bundle, device_types=("mobile", "desktop")))
    assert embeddings.tolist() == [[0, 11], [0, 0.5]]


def test_5a_item_columns(bundle: Bundle) -> None:
    """Categories go round by three and two, prices are 1, 2, none, 4."""
    columns = ItemLookup.open(bundle).take(np.array([3, 2, 1], dtype=np.int32))
    assert columns.codes.tolist() == [[1, 2, 1], [3, 1, 3], [2, 2, 2]]
    np.testing.assert_array_equal(columns.prices, [4, np.nan, 2])


def test_5b_item_inputs(bundle: Bundle) -> None:
    """Log prices have mean 3 and spread 1; an item without a price is the mean; i39 has no training positive."""
    rows = np.array([3, 2, 38], dtype=np.int32)
    inputs = ItemTransform(bundle)(rows, ItemLookup.open(bundle).take(rows))
    assert inputs.encoded_id.tolist() == [4, 3, 0]
    np.testing.assert_allclose(inputs.continuous[:, 0], [math.log(4) - 3, 0, math.log(39) - 3], rtol=1e-6)
    np.testing.assert_array_equal(inputs.continuous[0], bundle.items.continuous[3])


def test_5c_content() -> None:
    text, image = np.array([[3, 4], [0, 0]], dtype=np.float32), np.array([[0, 2], [0, 0]], dtype=np.float32)
    content = ContentLookup(text, image)
    assert content.take(np.array([1, 0], dtype=np.int32)).text.tolist() == [[0, 0], [3, 4]]
    half = math.sqrt(0.5)
    np.testing.assert_allclose(
        content.directions(np.array([0, 1])), [[0.6 * half, 0.8 * half, 0, half], [0, 0, 0, 0]], rtol=1e-6
    )


def test_6a_unrolled(bundle: Bundle) -> None:
    """The last item is launched a day after NOW, the one before two days before it; all others were always there."""
    queries = queries_of(bundle, device_types=(None, None))
    lengths = np.array([1, 2], dtype=np.int32)
    candidates = Candidates(bundle.version, np.array([38, 39, 0], dtype=np.int32), np.zeros(3, np.float32), lengths)
    unrolled = Unroll(bundle)(queries, candidates)
    assert unrolled.owners.tolist() == [0, 1, 1]
    assert unrolled.ages.tolist() == [2, 0, NUM_ITEM_AGE_BUCKETS - 1]
    assert bundle.items.launched_at[38] == NOW - 2 * DAY_S


def test_6b_ranker(bundle: Bundle) -> None:
    """All is silent but the last bias, 0.25, and half the retrieval score."""
    model = silent(bundle, "dlrm", dim=4, bottom_dims=[4], top_dims=[4])
    with torch.no_grad():
        model.score_weight.fill_(0.5)
        [*model.top.modules()][-1].bias.fill_(0.25)
    ranking = Ranking(bundle.version, TorchScorer(model), bundle.items.launched_at)
    lengths = np.array([1, 2], dtype=np.int32)
    scores = np.array([1.0, -2.0, 0.0], dtype=np.float32)
    given = Candidates(bundle.version, np.array([5, 6, 7], dtype=np.int32), scores, lengths)
    ranked = ranking(queries_of(bundle, device_types=("mobile", None)), given)
    assert ranked.scores.tolist() == [0.75, -0.75, 0.25]
    assert ranked.rows.tolist() == [5, 6, 7]


def test_7_decoded_ids(bundle: Bundle) -> None:
    lengths = np.array([2], dtype=np.int32)
    ranked = Candidates(bundle.version, np.array([39, 0], dtype=np.int32), np.zeros(2, np.float32), lengths)
    assert ItemDecoder(bundle)(ranked) == ["i40", "i1"]
