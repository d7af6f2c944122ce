"""The queries that measure ANN recall: events of the validation days, encoded as in serving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from contracts.catalogue import ItemFeatures
from contracts.ids import BoolArray, FloatArray
from training.features.processed import Processed
from training.models.inputs import QueryTensors
from training.models.two_tower import TwoTower


@dataclass(frozen=True)
class QueryGroup:
    """Queries of one shop-local day.

    Attributes:
        embeddings: [Q, E] float32.
        bias: additive bias of the items by their age on that day, [I] float32; None = none.
        mask: items launched before that day, [I]; None = all.
    """

    embeddings: FloatArray
    bias: FloatArray | None = None
    mask: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.embeddings)


def held_out_queries(
    processed: Processed, items: ItemFeatures, model: TwoTower, num_queries: int, seed: int
) -> Sequence[QueryGroup]:
    """A seeded sample of the validation days' events, day by day; empty where these days have none.

    Args:
        processed: the processed run.
        items: its catalogue.
        model: the trained two-tower, ready for scoring.
        num_queries: at most this many.
        seed: of the sample.
    """
    info, calendar, events = processed.info, processed.transforms.calendar, processed.events()
    rows = events.rows_between(info.validation_day, info.validation_end_day)
    chosen = np.random.default_rng(seed).permutation(rows)[:num_queries]
    groups = []
    for day in np.unique(events.day[chosen]).tolist():
        features = events.query_features(
            chosen[events.day[chosen] == day],
            processed.transforms,
            length=model.config.history_length,
            history_days=model.config.history_days,
            masked=False,
        )
        start = calendar.start_of_day(day)
        with torch.inference_mode():
            embeddings = model.query(QueryTensors.from_features(features)).numpy()
            bias = model.day_bias(items.launched_at, np.array([start]), calendar).numpy()[0]
        groups.append(QueryGroup(embeddings, bias, items.launched_at <= start))
    return groups
