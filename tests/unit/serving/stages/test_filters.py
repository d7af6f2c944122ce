"""Filters and excluded items: by hand, for every stage that obeys them, and never starving an answer."""

from __future__ import annotations

from dataclasses import replace

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.clock import ShopCalendar
from contracts.features import NUM_ITEM_AGE_BUCKETS
from contracts.messages import Candidates
from contracts.options import ItemFilters, Ragged
from serving.stages.config import RetrievalConfig
from serving.stages.eligibility import AgeBias, Eligibility
from serving.stages.item_lookup import ItemLookup
from serving.stages.popular import PopularItems
from serving.stages.retrieval import Retrieval
from tests.fixtures.item_lookup import item_lookup
from tests.fixtures.served_bundle import DAY_S
from tests.unit.serving.stages.test_candidate_side import queries_at
from training.models.candidate_index import CandidateIndex

NOW = 20_000 * DAY_S
INF = float("inf")
CODES = np.array([[1, 1, 1], [1, 2, 2], [2, 1, 1], [2, 2, 2], [0, 0, 0], [2, 2, 1]], dtype=np.int32)
COLUMNS = (c.CATEGORY_L1, c.CATEGORY_L2, c.GENDER)
TAGS = np.array([[1, 2], [2, -1], [-1, -1], [3, 1], [-1, -1], [2, 3]], dtype=np.int32)
ITEMS = item_lookup(
    6,
    {**dict(zip(COLUMNS, CODES.T, strict=True)), "tags": TAGS},
    {c.PRICE: np.array([10.0, 20.0, 30.0, np.nan, 50.0, 60.0]), "litres": np.array([1.0, 0.5, np.nan, 2.0, 3.0, 1.0])},
)
LAUNCHED = np.array([0, 0, 0, 0, 0, NOW + 1], dtype=np.int64)
ELIGIBILITY = Eligibility(LAUNCHED, np.zeros(6, dtype=np.bool_), ITEMS)


def filters_of(
    *requests: int,
    excluded: list[list[int]] | None = None,
    l1: list[list[int]] | None = None,
    l2: list[list[int]] | None = None,
    gender: list[list[int]] | None = None,
    tags: list[list[int]] | None = None,
    prices: list[tuple[float, float]] | None = None,
    litres: list[tuple[float, float]] | None = None,
) -> ItemFilters:
    nothing: list[list[int]] = [[] for _ in requests]
    return ItemFilters(
        np.array(requests, dtype=np.int32),
        Ragged.of(excluded or nothing),
        {
            column: Ragged.of(lists)
            for column, lists in zip((*COLUMNS, "tags"), (l1, l2, gender, tags), strict=True)
            if lists is not None
        },
        {name: np.array(some) for name, some in ((c.PRICE, prices), ("litres", litres)) if some is not None},
    )


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (filters_of(0), [0, 1, 2, 3, 4]),
        (filters_of(0, excluded=[[1, 3]]), [0, 2, 4]),
        (filters_of(0, l1=[[1]]), [0, 1]),
        (filters_of(0, l1=[[1, 2]]), [0, 1, 2, 3]),  # item 4 has no category
        (filters_of(0, l1=[[2]], l2=[[1]]), [2]),
        (filters_of(0, gender=[[2]]), [1, 3]),
        (filters_of(0, prices=[(10.0, 30.0)]), [0, 1, 2]),  # both ends inside; item 3 has no price
        (filters_of(0, prices=[(20.5, INF)]), [2, 4]),
        (filters_of(0, prices=[(-INF, 20.0)]), [0, 1]),
        (filters_of(0, l1=[[9]]), []),
        (filters_of(0, tags=[[2]]), [0, 1]),
        (filters_of(0, tags=[[1, 3]]), [0, 3]),
        (filters_of(0, tags=[[2]], l1=[[2]]), []),
        (filters_of(0, tags=[[9]]), []),
        (filters_of(0, tags=[[]]), [0, 1, 2, 3, 4]),
        (filters_of(0, litres=[(1.0, 2.0)]), [0, 3]),
        (filters_of(0, litres=[(0.0, INF)], prices=[(20.0, INF)]), [1, 4]),
        (filters_of(0, excluded=[[0]], l1=[[1]], gender=[[1]]), []),
    ],
)
def test_what_filters_let_through(filters: ItemFilters, expected: list[int]) -> None:
    (mask,) = ELIGIBILITY.of(np.array([NOW]), filters)
    assert np.flatnonzero(mask).tolist() == expected


def test_filters_hold_for_their_own_request_only() -> None:
    filters = filters_of(1, 3, l1=[[1], []], excluded=[[], [0]])
    masks = ELIGIBILITY.of(np.array([NOW] * 4), filters)
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [[0, 1, 2, 3, 4], [0, 1], [0, 1, 2, 3, 4], [1, 2, 3, 4]]
    assert ELIGIBILITY.at(NOW).tolist() == [True] * 5 + [False]  # the shared mask is as it was


def test_filters_and_launches_hold_together() -> None:
    masks = ELIGIBILITY.of(np.array([NOW, NOW + 1]), filters_of(1, l1=[[2]]))
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [[0, 1, 2, 3, 4], [2, 3, 5]]


def test_popular_items_obey_filters_and_do_not_run_out() -> None:
    popular = PopularItems("v", np.array([4, 1], dtype=np.int32), ELIGIBILITY, 3)
    found = popular(queries_at(NOW, NOW, NOW), filters_of(1, 2, l1=[[2], []], excluded=[[], [4]]))
    assert found.lengths.tolist() == [3, 2, 3]
    assert found.rows.tolist() == [4, 1, 0, 2, 3, 1, 0, 2]  # after the popular ones the rest of the catalogue
    assert found.scores.tolist() == [0, -1, -2, 0, -1, 0, -1, -2]


def test_provided_items_stand_in_their_order_when_retrieval_does_not_answer() -> None:
    popular = PopularItems("v", np.array([4, 1], dtype=np.int32), ELIGIBILITY, 1)
    found = popular(queries_at(NOW, NOW), filters_of(0, excluded=[[2]]), Ragged.of([[3, 2, 0], [5, 1]]))
    assert (found.lengths.tolist(), found.rows.tolist()) == ([2, 1], [3, 0, 1])


def line(index: CandidateIndex, k: int = 300) -> Retrieval:
    """Item r at r + 1 on a line, the query at 1, a bias of 1/2 for items that were always there."""
    by_bucket = np.zeros(NUM_ITEM_AGE_BUCKETS, dtype=np.float32)
    by_bucket[-1] = 0.5
    return Retrieval(
        "v",
        "digest",
        lambda queries: np.ones((len(queries), 1), dtype=np.float32),
        index,
        AgeBias(by_bucket, LAUNCHED, ShopCalendar("UTC")),
        ELIGIBILITY,
        RetrievalConfig(retrieval_k=k),
    )


POINTS = np.arange(1, 7, dtype=np.float32)[:, None]


def test_provided_items_are_scored_as_retrieval_scores_them() -> None:
    retrieval = line(CandidateIndex(POINTS))
    found = retrieval(queries_at(NOW, NOW + 1, NOW), filters_of(0, excluded=[[1]]), Ragged.of([[1, 2, 0], [5, 3], []]))
    assert found.lengths.tolist() == [2, 2, 0]
    assert found.rows.tolist() == [2, 0, 5, 3]
    assert found.scores.tolist() == [3.5, 1.5, 6.0, 4.5]
    everything = retrieval(queries_at(NOW))
    (again,) = [retrieval(queries_at(NOW), None, Ragged.of([everything.rows[::-1]]))]
    assert again.rows.tolist() == everything.rows.tolist()
    np.testing.assert_allclose(again.scores, everything.scores, atol=1e-6)


def approximate(points: np.ndarray) -> CandidateIndex:
    index = faiss.index_factory(points.shape[1], "HNSW8,Flat", faiss.METRIC_INNER_PRODUCT)
    index.add(points)
    return CandidateIndex(points, index)


@settings(deadline=None)
@given(
    data=st.data(),
    size=st.integers(1, 4),
    k=st.integers(1, 6),
    search=st.sampled_from([CandidateIndex(POINTS), approximate(POINTS)]),
)
def test_a_filtered_request_gets_whatever_fits(data: st.DataObject, size: int, k: int, search: CandidateIndex) -> None:
    rows = st.lists(st.integers(0, 5), unique=True, max_size=6)
    codes = st.lists(st.integers(1, 2), unique=True, max_size=2)
    lists = [data.draw(st.lists(kind, min_size=size, max_size=size)) for kind in (rows, codes, codes, codes)]
    filters = filters_of(*range(size), excluded=lists[0], l1=lists[1], l2=lists[2], gender=lists[3])
    queries = queries_at(*[NOW + 1] * size)
    answers: list[Candidates] = [
        line(search, k)(queries, filters),
        PopularItems("v", np.array([3], dtype=np.int32), ELIGIBILITY, k)(queries, filters),
    ]
    for answer in answers:
        for place in range(size):
            fitting = {
                row
                for row in range(6)
                if row not in lists[0][place]
                and all(not one[place] or CODES[row, at] in one[place] for at, one in enumerate(lists[1:]))
            }
            shown = answer.rows[answer.owners == place].tolist()
            assert set(shown) <= fitting
            assert len(shown) == min(k, len(fitting))


def test_shapes_are_checked() -> None:
    good = filters_of(0, 1)
    with pytest.raises(ValueError, match="the filters have 1 lists, expected 2, one a request with filters"):
        replace(good, excluded=Ragged.of([[1]]))
    with pytest.raises(ValueError, match="the filters have 1 lists, expected 2, one a request with filters"):
        replace(good, codes={"tags": Ragged.of([[1]])})
    with pytest.raises(ValueError, match=r"price is float64\[1, 2\], expected float64\[2, 2\]"):
        replace(good, ranges={c.PRICE: np.zeros((1, 2))})


def test_names_of_the_tiny_shop_meet_the_bundle_columns(bundle: Bundle) -> None:
    """Categories are books, shoes, toys by turns; item i3 has no price."""
    lookup = ItemLookup.open(bundle)
    assert lookup.codes(c.CATEGORY_L1)[:4].tolist() == [1, 2, 3, 1]
    np.testing.assert_array_equal(lookup.numbers(c.PRICE)[:4], [1, 2, np.nan, 4])


def test_a_column_that_the_catalogue_lacks_fits_nothing() -> None:
    eligibility = Eligibility(LAUNCHED, np.zeros(6, dtype=np.bool_), item_lookup(6))
    for filters in (filters_of(0, l1=[[1]]), filters_of(0, tags=[[1]]), filters_of(0, litres=[(0.0, 9.0)])):
        assert not eligibility.of(np.array([NOW]), filters).any()
