"""Loss in nats: -log of the probability that a method gives the item that was chosen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from contracts.bundle import Bundle
from contracts.ids import FloatArray, LongArray
from training.evaluation.ranked import ScoreBlocks, block_rows_for
from training.evaluation.test_day import TestDay
from training.features.processed import Processed
from training.models.inputs import QueryTensors
from training.models.loading import load_two_tower


def with_nats(blocks: ScoreBlocks, day: TestDay, nats: FloatArray) -> Iterator[tuple[LongArray, FloatArray]]:
    """Passes blocks of probabilities on and enters the nats of their targets.

    Args:
        blocks: queries and the probability of each item, up to a factor of the query; -inf = not launched.
        day: the queries.
        nats: of all queries [Q]; filled in place.
    """
    for queries, scores in blocks:
        own = scores[np.arange(len(queries)), day.target[queries]]
        with np.errstate(divide="ignore"):
            nats[queries] = np.log(np.where(np.isfinite(scores), scores, 0).sum(axis=1)) - np.log(np.maximum(own, 0))
        yield queries, scores


def retrieval_nats(bundle: Bundle, processed: Processed, day: TestDay) -> FloatArray:
    """Nats of each target [Q] under the softmax of the retrieval scores over the items launched by then."""
    tower, history, nats = load_two_tower(bundle), bundle.manifest.history, np.zeros(len(day), dtype=np.float32)
    size = block_rows_for(day.num_items)
    candidates = torch.from_numpy(np.array(bundle.array("two_tower/candidate")))
    with torch.inference_mode():
        for start in range(0, len(day), size):
            part = slice(start, start + size)
            features = day.events.query_features(
                day.rows[part], processed.transforms, length=history.length, history_days=history.days, masked=False
            )
            scores = tower.query(QueryTensors.from_features(features)) @ candidates.T
            scores += tower.day_bias(day.launched_at, day.time[part], processed.transforms.calendar)
            scores[torch.from_numpy(day.launched_at > day.time[part, None])] = -torch.inf
            own = scores.gather(1, torch.from_numpy(day.target[part].astype(np.int64))[:, None])[:, 0]
            nats[part] = (scores.logsumexp(dim=1) - own).numpy()
    return nats
