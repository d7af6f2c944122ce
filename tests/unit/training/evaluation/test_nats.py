from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from contracts.bundle import Bundle
from contracts.clock import DAY_S
from contracts.features import ITEM_AGE_EDGES_DAYS
from tests.fixtures.tiny_run import LAST_DAY
from training.evaluation.config import EvaluationConfig
from training.evaluation.nats import retrieval_nats, with_nats
from training.evaluation.test_day import TestDay
from training.evaluation.test_day import test_day as collect_day
from training.features.processed import Processed
from training.models.inputs import QueryTensors
from training.models.loading import load_two_tower


def test_nats_of_probabilities_by_hand() -> None:
    day = cast(TestDay, SimpleNamespace(target=np.array([1, 0, 2], dtype=np.int32)))
    nats = np.full(3, np.nan, dtype=np.float32)
    blocks = [
        (np.array([2]), np.array([[0.5, 0.25, 0.25]], dtype=np.float32)),
        (np.array([0, 1]), np.array([[3.0, 1.0, -np.inf], [-np.inf, 1.0, 1.0]], dtype=np.float32)),
    ]

    passed = list(with_nats(blocks, day, nats))

    assert [queries.tolist() for queries, _ in passed] == [[2], [0, 1]]
    np.testing.assert_allclose(nats, [math.log(4), math.inf, math.log(4)], rtol=1e-6)


def test_nats_of_retrieval_are_those_of_the_softmax_over_launched_items(processed: Processed, bundle: Bundle) -> None:
    launched_at = np.array(bundle.items.launched_at)
    launched_at[3] = (LAST_DAY + 1) * DAY_S  # never there
    day = collect_day(processed.events(), LAST_DAY, launched_at, EvaluationConfig())

    nats = retrieval_nats(bundle, processed, day)

    tower, history = load_two_tower(bundle), bundle.manifest.history
    for query in range(0, len(day), 3):
        features = day.events.query_features(
            day.rows[[query]], processed.transforms, length=history.length, history_days=history.days, masked=False
        )
        scores = (
            tower.query(QueryTensors.from_features(features))
            @ torch.from_numpy(np.array(bundle.array("two_tower/candidate"))).T
        )[0]
        ages = [(LAST_DAY * DAY_S - launch) // DAY_S if launch else 999 for launch in launched_at]
        scores = scores + torch.stack(
            [tower.age_bias[int(np.digitize(max(age, 0), ITEM_AGE_EDGES_DAYS))] for age in ages]
        )
        there = torch.from_numpy(launched_at <= day.time[query])
        expected = scores[there].logsumexp(dim=0) - scores[day.target[query]]
        assert nats[query] == pytest.approx(expected.item(), rel=1e-5) or day.target[query] == 3
