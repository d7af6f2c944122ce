"""Hand-worked values for the reference's models that no other test of the stages works out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.messages import Candidates, QueryFeatures
from serving.pipeline import Fallbacks
from serving.stages.content_lookup import ContentLookup
from serving.stages.item_lookup import ItemLookup
from serving.stages.query_tower import QueryTower
from serving.stages.ranking import Ranking
from serving.stages.torch_scorer import TorchScorer
from tests.fixtures.served_bundle import request_batch
from training.models.inputs import ItemTensors
from training.models.loading import build_model
from training.models.schema import ModelSchema


def queries_of(bundle: Bundle, *devices: str | None) -> QueryFeatures:
    return Fallbacks.open(bundle, 1).anonymous(request_batch(len(devices), context={c.DEVICE_TYPE: devices})).features


def silent(bundle: Bundle, kind: str, **config: Any) -> Any:
    """A model of which every weight is 0."""
    schema = ModelSchema.of(bundle.transforms, bundle.items)
    encoded_id = np.asarray(bundle.array("ranker/encoded_id"))
    model = build_model(kind, {"history_length": 0, **config}, schema, ItemTensors(bundle.items, encoded_id))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model.eval()


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
    embeddings = QueryTower(model)(queries_of(bundle, "mobile", "desktop"))
    assert embeddings.tolist() == [[0, 11], [0, 0.5]]


def test_5a_item_columns(bundle: Bundle) -> None:
    """Categories go round by three and two, prices are 1, 2, none, 4."""
    lookup, rows = ItemLookup.open(bundle), [3, 2, 1]
    columns = (c.CATEGORY_L1, c.CATEGORY_L2, c.GENDER)
    assert [lookup.codes(column)[rows].tolist() for column in columns] == [[1, 3, 2], [2, 1, 2], [1, 3, 2]]
    np.testing.assert_array_equal(lookup.numbers(c.PRICE)[rows], [4, np.nan, 2])


def test_5c_content() -> None:
    text, image = np.array([[3, 4], [0, 0]], dtype=np.float32), np.array([[0, 2], [0, 0]], dtype=np.float32)
    content = ContentLookup(text, image)
    assert content.take(np.array([1, 0], dtype=np.int32)).text.tolist() == [[0, 0], [3, 4]]
    half = math.sqrt(0.5)
    np.testing.assert_allclose(
        content.directions(np.array([0, 1])), [[0.6 * half, 0.8 * half, 0, half], [0, 0, 0, 0]], rtol=1e-6
    )


def test_6b_ranker(bundle: Bundle) -> None:
    """All is silent but the last bias, 0.25, and half the retrieval score."""
    model = silent(bundle, "dlrm", dim=4, bottom_dims=[4], top_dims=[4])
    with torch.no_grad():
        model.score_weight.fill_(0.5)
        [*model.top.modules()][-1].bias.fill_(0.25)
    ranking = Ranking(bundle.version, bundle.schema.digest, TorchScorer(model), bundle.items.launched_at)
    lengths = np.array([1, 2], dtype=np.int32)
    scores = np.array([1.0, -2.0, 0.0], dtype=np.float32)
    given = Candidates(bundle.version, np.array([5, 6, 7], dtype=np.int32), scores, lengths)
    ranked = ranking(queries_of(bundle, "mobile", None), given)
    assert ranked.scores.tolist() == [0.75, -0.75, 0.25]
    assert ranked.rows.tolist() == [5, 6, 7]
