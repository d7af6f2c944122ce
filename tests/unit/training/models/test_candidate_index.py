"""Search over candidates: exact order, bias and mask, and an approximate index that never runs dry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import BundleError
from training.index import IndexConfig, build_index
from training.models.candidate_index import CandidateIndex

NUM_ITEMS, DIM = 600, 8
IVF = {"exact_below": 0, "approximate": "ivf", "num_lists": 15, "num_probes": 2}
HNSW = {"exact_below": 0, "approximate": "hnsw"}


@pytest.fixture(scope="module")
def candidates() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(NUM_ITEMS, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(5, DIM)).astype(np.float32)


@pytest.fixture(scope="module", params=["exact", "ivf", "hnsw"])
def index(
    request: pytest.FixtureRequest, candidates: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> CandidateIndex:
    config = {"exact": IndexConfig(), "ivf": IndexConfig(**IVF), "hnsw": IndexConfig(**HNSW)}[request.param]
    file = tmp_path_factory.mktemp("index") / "faiss.index"
    build_index(config, candidates, file)
    return CandidateIndex.open(file, candidates)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
@pytest.mark.parametrize("config", [IVF, HNSW], ids=["ivf", "hnsw"])
def test_an_approximate_index_is_mapped_not_copied(
    candidates: np.ndarray, tmp_path: Path, config: dict[str, Any]
) -> None:
    file = tmp_path / "faiss.index"
    build_index(IndexConfig(**config), candidates, file)
    index = CandidateIndex.open(file, candidates)
    assert not index.is_exact
    assert str(file) in Path("/proc/self/maps").read_text()


def test_exact_search_by_hand() -> None:
    index = CandidateIndex(np.array([[1, 0], [0, 1], [1, 1], [1, 0]], dtype=np.float32))
    found = index.search(np.array([[2, 1], [0, 3]], dtype=np.float32), 3)
    assert found.rows.tolist() == [2, 0, 3, 1, 2, 0]  # 0 and 3 tie, and so do 0 and 3 of the second query
    assert found.scores.tolist() == [3, 2, 2, 3, 3, 0]
    assert found.lengths.tolist() == [3, 3]


def test_bias_and_mask_by_hand() -> None:
    index = CandidateIndex(np.array([[1.0], [2.0], [3.0]], dtype=np.float32))
    query = np.ones((1, 1), dtype=np.float32)
    bias = np.array([5, 0, 0], dtype=np.float32)
    assert index.search(query, 2, bias).rows.tolist() == [0, 2]
    assert index.search(query, 2, bias, np.array([False, True, True])).rows.tolist() == [2, 1]


def test_bias_and_mask_may_differ_by_query() -> None:
    index = CandidateIndex(np.array([[1.0], [2.0], [3.0]], dtype=np.float32))
    mask = np.array([[True, True, False], [False, False, True]])
    bias = np.array([[0, -5, 0], [0, 0, 1]], dtype=np.float32)
    found = index.search(np.ones((2, 1), dtype=np.float32), 3, bias, mask)
    assert found.rows.tolist() == [0, 1, 2]
    assert found.scores.tolist() == [1, -3, 4]
    assert found.lengths.tolist() == [2, 1]


def test_no_eligible_items_give_empty_lists(index: CandidateIndex, queries: np.ndarray) -> None:
    found = index.search(queries, 10, mask=np.zeros(NUM_ITEMS, dtype=bool))
    assert found.lengths.tolist() == [0] * 5
    assert len(found.rows) == 0


def test_k_beyond_the_catalogue_gives_the_catalogue(index: CandidateIndex, queries: np.ndarray) -> None:
    found = index.search(queries, NUM_ITEMS + 5)
    assert found.lengths.tolist() == [NUM_ITEMS] * 5
    assert sorted(found.rows[:NUM_ITEMS].tolist()) == list(range(NUM_ITEMS))


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 1), k=st.integers(1, 80), seed=st.integers(0, 10))
def test_every_kind_fills_its_lists_with_distinct_eligible_items(
    index: CandidateIndex, candidates: np.ndarray, share: float, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(NUM_ITEMS) < share
    bias = rng.normal(size=NUM_ITEMS).astype(np.float32)
    queries = rng.normal(size=(3, DIM)).astype(np.float32)
    found = index.search(queries, k, bias, mask)
    assert (found.lengths == min(k, mask.sum())).all()
    assert mask[found.rows].all()
    for query, part in zip(queries, np.split(np.arange(len(found.rows)), np.cumsum(found.lengths)[:-1]), strict=True):
        rows, scores = found.rows[part], found.scores[part]
        assert len(set(rows.tolist())) == len(rows)
        np.testing.assert_allclose(scores, candidates[rows] @ query + bias[rows], rtol=1e-4, atol=1e-4)
        assert (np.diff(scores) <= 0).all()


def test_a_mask_that_leaves_few_is_searched_exactly(index: CandidateIndex, candidates: np.ndarray) -> None:
    mask = np.zeros(NUM_ITEMS, dtype=bool)
    mask[[3, 77, 512]] = True
    query = -candidates[3:4]  # item 3 is the worst of all: no over-fetch would reach it
    scores = candidates[[3, 77, 512]] @ query[0]
    found = index.search(query, 10, mask=mask)
    assert found.rows.tolist() == np.array([3, 77, 512])[np.argsort(-scores)].tolist()


def test_one_query_and_many_find_the_same(index: CandidateIndex, queries: np.ndarray) -> None:
    together = index.search(queries, 20)
    alone = [index.search(queries[row : row + 1], 20).rows for row in range(5)]
    assert together.rows.tolist() == np.concatenate(alone).tolist()


def test_approximate_search_is_near_the_exact_one(
    index: CandidateIndex, candidates: np.ndarray, queries: np.ndarray
) -> None:
    exact = CandidateIndex(candidates).search(queries, 20).rows.reshape(5, 20)
    found = index.search(queries, 20).rows.reshape(5, 20)
    recall = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(exact, found, strict=True)])
    assert recall == 1 if index.is_exact else recall > 0.3


def test_an_index_of_other_embeddings_is_refused(candidates: np.ndarray, tmp_path: Path) -> None:
    build_index(IndexConfig(), candidates, tmp_path / "faiss.index")
    with pytest.raises(BundleError, match=r"faiss.index holds 600 embeddings of 8, the candidates are \[599, 8\]"):
        CandidateIndex.open(tmp_path / "faiss.index", candidates[1:])


def test_the_saved_index_searches_inner_products(candidates: np.ndarray, tmp_path: Path) -> None:
    build_index(IndexConfig(**IVF), candidates, tmp_path / "faiss.index")
    assert faiss.read_index(str(tmp_path / "faiss.index")).metric_type == faiss.METRIC_INNER_PRODUCT


@pytest.mark.parametrize("config", [IVF, HNSW], ids=["ivf", "hnsw"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_new_item_that_its_bias_lifts_is_found_though_the_index_would_not_fetch_it(
    candidates: np.ndarray, tmp_path: Path, config: dict[str, Any], shared: bool
) -> None:
    build_index(IndexConfig(**config), candidates, tmp_path / "faiss.index")
    index = CandidateIndex.open(tmp_path / "faiss.index", candidates)
    query = candidates[5:6]
    products = candidates @ query[0]
    new = int(np.argsort(-products)[NUM_ITEMS // 2])  # 4 * k = 40 are fetched, this one is the 300th
    bias = np.zeros(NUM_ITEMS, dtype=np.float32)
    bias[new] = 100.0

    found = index.search(query, 10, bias if shared else np.stack([bias, bias])[:1])

    assert found.rows[0] == new
    assert found.scores[0] == pytest.approx(products[new] + 100, rel=1e-5)
    assert len(set(found.rows.tolist())) == 10
    bias[new] = 0.0
    assert index.search(query, 10, bias.copy()).rows[0] != new  # another day's bias is another array
    hidden = np.arange(NUM_ITEMS) != new
    bias[new] = 100.0
    assert new not in index.search(query, 10, bias, hidden).rows


def test_items_below_the_usual_bias_do_not_hide_others(candidates: np.ndarray, tmp_path: Path) -> None:
    """The best 300 products are set back, so that none of the 40 that are fetched belongs into the list."""
    build_index(IndexConfig(**HNSW), candidates, tmp_path / "faiss.index")
    index = CandidateIndex.open(tmp_path / "faiss.index", candidates)
    query = candidates[5:6]
    bias = np.zeros(NUM_ITEMS, dtype=np.float32)
    bias[np.argsort(-(candidates @ query[0]))[: NUM_ITEMS // 2 - 10]] = -100.0

    found = index.search(query, 10, bias)

    assert found.rows.tolist() == CandidateIndex(candidates).search(query, 10, bias).rows.tolist()
