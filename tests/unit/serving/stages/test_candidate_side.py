"""Eligibility, retrieval, popular items, seen filter, ranking and reranking, with hand-worked values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contracts.clock import ShopCalendar
from contracts.encoded import EncodedColumns
from contracts.errors import BundleError, StageError
from contracts.features import NUM_ITEM_AGE_BUCKETS, History
from contracts.messages import Candidates, Pairs, QueryFeatures
from serving.stages.config import RetrievalConfig
from serving.stages.content_lookup import ContentLookup
from serving.stages.eligibility import AgeBias, Eligibility
from serving.stages.popular import PopularItems
from serving.stages.ranking import Ranking
from serving.stages.reranking import Reranking, sigmoid
from serving.stages.retrieval import Retrieval
from serving.stages.seen_filter import SeenFilter
from tests.fixtures.item_lookup import item_lookup
from tests.fixtures.served_bundle import DAY_S
from training.models.candidate_index import CandidateIndex
from training.models.item_popularity import ItemPopularity

DAY = 20_000
MIDNIGHT = DAY * DAY_S


def queries_at(*nows: int) -> QueryFeatures:
    size = len(nows)
    return QueryFeatures(
        "v",
        np.array(nows, dtype=np.int64),
        EncodedColumns("digest", np.zeros((size, 6), dtype=np.int32), np.zeros((size, 5), dtype=np.float32)),
        History(np.zeros((size, 0), np.int32), np.zeros((size, 0), np.float32), np.zeros((size, 0), np.bool_)),
    )


def candidates(lengths: list[int], rows: list[int], scores: list[float]) -> Candidates:
    return Candidates(
        "v", np.array(rows, dtype=np.int32), np.array(scores, dtype=np.float32), np.array(lengths, dtype=np.int32)
    )


LAUNCHED = np.array([0, MIDNIGHT, MIDNIGHT + 100, 0], dtype=np.int64)
WITHDRAWN = np.array([False, False, False, True])
ITEMS = item_lookup(4)


RERANKING = Reranking("v", ITEMS, ContentLookup(np.zeros((4, 2), np.float32), np.zeros((4, 2), np.float32)))


def test_items_are_eligible_from_their_launch_until_withdrawn() -> None:
    eligibility = Eligibility(LAUNCHED, WITHDRAWN, ITEMS)
    assert eligibility.at(MIDNIGHT - 1).tolist() == [True, False, False, False]
    assert eligibility.at(MIDNIGHT).tolist() == [True, True, False, False]
    assert eligibility.at(MIDNIGHT + 100).tolist() == [True, True, True, False]
    assert eligibility.at(MIDNIGHT - 1).tolist() == [True, False, False, False]  # and back


def test_queries_of_one_launch_share_a_mask_others_have_their_own() -> None:
    eligibility = Eligibility(LAUNCHED, WITHDRAWN, ITEMS)
    assert eligibility.of(np.array([MIDNIGHT, MIDNIGHT + 99])).tolist() == [True, True, False, False]
    assert eligibility.of(np.array([MIDNIGHT + 100, MIDNIGHT - 1])).tolist() == [
        [True, True, True, False],
        [True, False, False, False],
    ]


def test_age_bias_changes_with_the_day_only() -> None:
    by_bucket = np.arange(NUM_ITEM_AGE_BUCKETS, dtype=np.float32)
    bias = AgeBias(by_bucket, LAUNCHED, ShopCalendar("UTC"))
    oldest = NUM_ITEM_AGE_BUCKETS - 1
    # At the start of the day the second item is 0 days old, the third not launched: bucket 0.
    assert bias.of(np.array([MIDNIGHT, MIDNIGHT + DAY_S - 1])).tolist() == [oldest, 0, 0, oldest]
    # A day later the second is one day old, the third only 23 hours and some.
    assert bias.of(np.array([MIDNIGHT + DAY_S])).tolist() == [oldest, 1, 0, oldest]
    assert bias.of(np.array([MIDNIGHT + DAY_S, MIDNIGHT])).tolist() == [[oldest, 1, 0, oldest], [oldest, 0, 0, oldest]]


def retrieval(k: int) -> Retrieval:
    """Items at 1, 2, 3, 4 on a line, the query at 1, and a bias of 10 for items younger than a day."""
    by_bucket = np.zeros(NUM_ITEM_AGE_BUCKETS, dtype=np.float32)
    by_bucket[0] = 10
    return Retrieval(
        "v",
        "digest",
        lambda queries: np.ones((len(queries), 1), dtype=np.float32),
        CandidateIndex(np.array([[1], [2], [3], [4]], dtype=np.float32)),
        AgeBias(by_bucket, LAUNCHED, ShopCalendar("UTC")),
        Eligibility(LAUNCHED, WITHDRAWN, ITEMS),
        RetrievalConfig(retrieval_k=k),
    )


def test_retrieval_adds_the_bias_and_leaves_out_what_is_not_eligible() -> None:
    found = retrieval(3)(queries_at(MIDNIGHT + 100, MIDNIGHT - 1, MIDNIGHT + 2 * DAY_S))
    assert found.lengths.tolist() == [3, 1, 3]
    # 3 + 10, 2 + 10, 1; before midnight the first item alone; two days later no bias any more.
    assert found.rows.tolist() == [2, 1, 0, 0, 2, 1, 0]
    assert found.scores.tolist() == [13, 12, 1, 1, 3, 2, 1]


def test_retrieval_gives_as_many_as_asked_for() -> None:
    assert retrieval(2)(queries_at(MIDNIGHT + 100)).rows.tolist() == [2, 1]


def test_popular_items_keep_their_order_and_are_eligible() -> None:
    popular = PopularItems("v", np.array([3, 2, 1, 0], dtype=np.int32), Eligibility(LAUNCHED, WITHDRAWN, ITEMS), 2)
    found = popular(queries_at(MIDNIGHT + 100, MIDNIGHT - 1))
    assert found.lengths.tolist() == [2, 1]
    assert found.rows.tolist() == [2, 1, 0]
    assert found.scores.tolist() == [0, -1, 0]


class KnownRings:
    """Says seen for items whose first hash is odd, for the first request only."""

    def seen(self, hashes: np.ndarray, owners: np.ndarray) -> np.ndarray:
        return (hashes[:, 0] % 2 == 1) & (owners == 0)


def test_seen_filter_takes_out_what_the_subject_has_seen() -> None:
    hashes = np.array([[0, 0], [1, 0], [2, 0]], dtype=np.uint64)
    result = SeenFilter("v", hashes)(candidates([2, 2], [1, 2, 1, 0], [4, 3, 2, 1]), KnownRings())
    assert result.kept.rows.tolist() == [2, 1, 0]
    assert result.kept.lengths.tolist() == [1, 2]
    assert result.removed.rows.tolist() == [1]
    assert result.removed.lengths.tolist() == [1, 0]


class Told:
    """A ranker that notes what it is asked and answers with given logits."""

    def __init__(self, *logits: float) -> None:
        self.logits = np.array(logits, dtype=np.float32)

    def __call__(self, queries: QueryFeatures, pairs: Pairs) -> np.ndarray:
        self.asked = pairs
        return self.logits


def test_ranking_hands_over_owners_ages_and_retrieval_scores() -> None:
    told = Told(0.5, -1.0, 2.0)
    ranked = Ranking("v", "digest", told, LAUNCHED)(
        queries_at(MIDNIGHT + DAY_S, MIDNIGHT + 100), candidates([1, 2], [1, 0, 2], [9, 8, 7])
    )
    assert ranked.scores.tolist() == [0.5, -1.0, 2.0]
    assert ranked.rows.tolist() == [1, 0, 2]
    assert told.asked.owners.tolist() == [0, 1, 1]
    assert told.asked.retrieval_scores.tolist() == [9, 8, 7]
    assert told.asked.age_bucket.tolist() == [1, NUM_ITEM_AGE_BUCKETS - 1, 0]  # one day, always there, just launched
    assert told.asked.popularity is None


def test_ranking_hands_over_how_popular_items_were_when_the_day_of_the_request_began() -> None:
    told, day = Told(0.5, -1.0, 2.0, 0.0), MIDNIGHT // DAY_S
    by_day = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    popularity = ItemPopularity(by_day, day + 1, ShopCalendar("UTC"))
    nows = MIDNIGHT - DAY_S, MIDNIGHT + DAY_S - 1, MIDNIGHT + DAY_S, MIDNIGHT + 9 * DAY_S
    Ranking("v", "digest", told, LAUNCHED, popularity)(queries_at(*nows), candidates([1] * 4, [2, 2, 2, 0], [9] * 4))
    assert told.asked.popularity.tolist() == [3, 3, 6, 4]  # before the first day, on it, on the last one, after it


@pytest.mark.parametrize(
    "stage",
    [
        lambda queries: retrieval(3)(queries),
        lambda queries: Ranking("v", "digest", Told(), LAUNCHED)(queries, candidates([0], [], [])),
    ],
)
def test_columns_of_another_schema_are_refused_by_name(stage: Callable[[QueryFeatures], Any]) -> None:
    queries = queries_at(MIDNIGHT)
    other = replace(queries, columns=replace(queries.columns, digest="0123456789abcdef"))
    with pytest.raises(BundleError, match=r"columns of schema 0123456789ab, expected those of digest, the bundle's"):
        stage(other)


def test_logits_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(StageError, match="the ranker's logits are not all finite; check the bundle's weights"):
        Ranking("v", "digest", Told(math.nan), LAUNCHED)(queries_at(MIDNIGHT), candidates([1], [0], [1]))


def test_reranking_cuts_each_request_at_its_k_with_ties_by_row() -> None:
    given = candidates([4, 0, 2], [7, 3, 5, 1, 8, 9], [0.0, 2.0, 0.0, -1.0, 1.0, 1.5])
    top = RERANKING(given, np.array([3, 5, 1], dtype=np.int32)).items
    assert top.lengths.tolist() == [3, 0, 1]
    assert top.rows.tolist() == [3, 5, 7, 9]
    expected = [1 / (1 + math.exp(-logit)) for logit in (2.0, 0.0, 0.0, 1.5)]
    np.testing.assert_allclose(top.scores, expected, rtol=1e-6)


def test_sigmoid_at_its_ends() -> None:
    values = sigmoid(np.array([-1000, 0, 1000], dtype=np.float32))
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert values.dtype == np.float32


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=4).flatmap(
        lambda lengths: st.tuples(
            st.just(lengths),
            arrays(np.float32, sum(lengths), elements=st.floats(-8, 8, width=16)),
            st.permutations(range(sum(lengths))),
            st.lists(st.integers(1, 15), min_size=len(lengths), max_size=len(lengths)),
        )
    )
)
def test_reranking_is_the_sorted_head_of_each_request(
    drawn: tuple[list[int], np.ndarray, list[int], list[int]],
) -> None:
    lengths, logits, rows, k = drawn
    given = candidates(lengths, rows, logits.tolist())
    top = RERANKING(given, np.array(k, dtype=np.int32)).items
    starts, ends = given.offsets[:-1], top.offsets
    for place, length in enumerate(lengths):
        mine = [(-float(logits[at]), rows[at]) for at in range(starts[place], starts[place] + length)]
        expected = [row for _, row in sorted(mine)[: k[place]]]
        assert top.rows[ends[place] : ends[place + 1]].tolist() == expected
