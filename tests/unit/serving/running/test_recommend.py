"""The pipeline as evaluation runs it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.bundle import Bundle
from contracts.errors import StageError
from contracts.messages import Candidates, QueryFeatures
from serving.pipeline import Fallbacks
from serving.running.recommend import local_recommend
from serving.stages.config import RetrievalConfig
from tests.fixtures.served_bundle import DAY_S, NOW, request_batch


@pytest.fixture(scope="module")
def queries(bundle: Bundle) -> QueryFeatures:
    return Fallbacks.open(bundle, 1).anonymous(request_batch(3)).features


def test_everything_eligible_is_ranked_and_cut(bundle: Bundle, queries: QueryFeatures) -> None:
    result = local_recommend(bundle)(queries, k=7, seen=None)
    assert result.ranked.lengths.tolist() == [7, 7, 7]
    assert result.retrieved.lengths.tolist() == [39, 39, 39]
    assert result.degraded == ((), (), ())
    assert (np.diff(result.ranked.scores.reshape(3, 7), axis=1) <= 0).all()


def test_each_query_has_its_own_now(bundle: Bundle, queries: QueryFeatures) -> None:
    """The last item is launched a day after NOW, the one before two days before it."""
    nows = np.array([NOW, NOW + DAY_S, NOW - 3 * DAY_S], dtype=np.int64)
    result = local_recommend(bundle)(replace(queries, now=nows), k=100, seen=None)
    assert result.ranked.lengths.tolist() == [39, 40, 38]


def test_cores_that_others_use_are_left_to_them(
    bundle: Bundle, queries: QueryFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contracts.cores._PERIOD_S", 0.0)
    monkeypatch.setattr("psutil.cpu_percent", lambda: 300.0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        recommend = local_recommend(bundle)
        assert torch.get_num_threads() == 2
        recommend(queries, k=1, seen=None)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_exact_seen_mask_is_the_filter(bundle: Bundle, queries: QueryFeatures) -> None:
    def seen(candidates: Candidates) -> np.ndarray:
        return (candidates.owners == 1) & (candidates.rows < 30)

    result = local_recommend(bundle)(queries, k=100, seen=seen)
    assert result.ranked.lengths.tolist() == [39, 9, 39]
    assert result.removed == {"seen": 30}
    assert result.retrieved.lengths.tolist() == [39, 39, 39]


def test_retrieval_k_cuts_what_is_ranked(bundle: Bundle, queries: QueryFeatures) -> None:
    result = local_recommend(bundle, RetrievalConfig(retrieval_k=4))(queries, k=100, seen=None)
    assert result.retrieved.lengths.tolist() == [4, 4, 4]
    for place in range(3):
        part = slice(4 * place, 4 * place + 4)
        assert sorted(result.ranked.rows[part]) == sorted(result.retrieved.rows[part])


def test_a_failing_stage_fails_the_measurement(bundle: Bundle, queries: QueryFeatures) -> None:
    with pytest.raises(StageError, match="stage retrieval failed"):
        local_recommend(bundle)(replace(queries, bundle_version="other"), k=1, seen=None)


def test_retrieval_leaves_seen_items_out_where_too_few_would_be_left(bundle: Bundle, queries: QueryFeatures) -> None:
    """Query 1 has seen all of its first 8 items but one, and 12 of the next; query 2 all there are."""
    everything = local_recommend(bundle)(queries, k=100, seen=None)
    order = np.split(everything.retrieved.rows, 3)[1]
    gone = set(order[:20].tolist()) - {int(order[3])}

    def seen(candidates: Candidates) -> np.ndarray:
        by_first = np.array([row in gone for row in candidates.rows.tolist()], dtype=bool)
        return ((candidates.owners == 1) & by_first) | (candidates.owners == 2)

    result = local_recommend(bundle, RetrievalConfig(retrieval_k=8))(queries, k=6, seen=seen)

    assert result.ranked.lengths.tolist() == [6, 6, 0]
    assert result.scored.lengths.tolist() == [8, 8, 0]
    unseen = [row for row in order.tolist() if row not in gone]
    scored = np.split(result.scored.rows, [8])[1]
    assert sorted(scored.tolist()) == sorted(unseen[:8])  # as if retrieval had known the seen items
    assert result.removed == {"seen": 19 + 39}  # all that came in is kept or removed
    assert result.retrieved.lengths.tolist() == [8, 8 + 19, 39]
    for place in range(3):
        part = slice(*result.retrieved.offsets[place : place + 2])
        assert (np.diff(result.retrieved.scores[part]) <= 0).all()
        assert len(set(result.retrieved.rows[part].tolist())) == part.stop - part.start
    alone = local_recommend(bundle, RetrievalConfig(retrieval_k=8))(queries, k=6, seen=None)
    assert result.ranked.rows[:6].tolist() == alone.ranked.rows[:6].tolist()  # query 0 is left as it was


def test_the_others_are_not_retrieved_again(bundle: Bundle, queries: QueryFeatures) -> None:
    asked: list[int] = []

    def seen(candidates: Candidates) -> np.ndarray:
        asked.append(int((candidates.lengths > 0).sum()))
        return (candidates.owners == 0) & (candidates.rows % 2 == 0)

    local_recommend(bundle, RetrievalConfig(retrieval_k=8))(queries, k=1, seen=seen)
    assert asked == [3]
    asked.clear()
    local_recommend(bundle, RetrievalConfig(retrieval_k=8))(queries, k=8, seen=seen)
    assert asked[0] == 3
    assert set(asked[1:]) == {1}
