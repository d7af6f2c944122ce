"""Building the index: the kind by size, ANN recall always measured, no half-written files."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from pydantic import ValidationError

from contracts.errors import DataError
from training.held_out_queries import QueryGroup
from training.index import IndexConfig, ann_recall, build_index
from training.models.candidate_index import CandidateIndex


@pytest.fixture(scope="module")
def candidates() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> list[QueryGroup]:
    rng = np.random.default_rng(1)
    return [QueryGroup(rng.normal(size=(count, 8)).astype(np.float32)) for count in (30, 20)]


def test_small_catalogues_are_exact_and_the_approximate_recall_is_told(
    candidates: np.ndarray, queries: list[QueryGroup], tmp_path: Path
) -> None:
    config = IndexConfig(approximate="ivf", num_lists=12, num_probes=1, recall_k=50)
    summary = build_index(config, candidates, tmp_path / "faiss.index", queries)
    assert (summary.kind, summary.num_items, summary.ann_recall, summary.num_queries) == ("exact", 500, 1.0, 50)
    assert summary.approximate_recall is not None
    assert 0 < summary.approximate_recall < 1
    assert summary.metrics() == {
        "index.ann_recall@50": 1.0,
        "index.approximate_recall@50": summary.approximate_recall,
        "index.num_recall_queries": 50.0,
    }
    assert isinstance(faiss.read_index(str(tmp_path / "faiss.index")), faiss.IndexFlat)


@pytest.mark.parametrize(("approximate", "kind"), [("ivf", faiss.IndexIVFFlat), ("hnsw", faiss.IndexHNSW)])
def test_large_catalogues_are_approximate(
    approximate: str, kind: type, candidates: np.ndarray, queries: list[QueryGroup], tmp_path: Path
) -> None:
    config = IndexConfig(exact_below=500, approximate=approximate, recall_k=20)
    summary = build_index(config, candidates, tmp_path / "faiss.index", queries)
    assert summary.kind == approximate
    assert summary.ann_recall == summary.approximate_recall
    assert summary.ann_recall is not None
    assert summary.ann_recall > 0.5
    assert isinstance(faiss.read_index(str(tmp_path / "faiss.index")), kind)


def test_without_held_out_queries_nothing_is_measured(candidates: np.ndarray, tmp_path: Path) -> None:
    summary = build_index(IndexConfig(exact_below=0), candidates, tmp_path / "faiss.index")
    assert (summary.ann_recall, summary.approximate_recall, summary.num_queries) == (None, None, 0)
    assert summary.metrics() == {"index.num_recall_queries": 0.0}


def test_more_probes_find_more(candidates: np.ndarray, queries: list[QueryGroup], tmp_path: Path) -> None:
    recalls = [
        build_index(
            IndexConfig(approximate="ivf", num_lists=12, num_probes=probes, recall_k=50),
            candidates,
            tmp_path / "index",
            queries,
        ).approximate_recall
        or 0.0
        for probes in (4, 8, 12)
    ]
    assert recalls[0] < recalls[1] < recalls[2] == 1


def test_lists_are_no_more_than_the_catalogue_can_fill(candidates: np.ndarray, tmp_path: Path) -> None:
    build_index(IndexConfig(exact_below=0, approximate="ivf"), candidates, tmp_path / "index")
    assert faiss.read_index(str(tmp_path / "index")).nlist == 500 // 39


def test_the_same_seed_gives_the_same_file(candidates: np.ndarray, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build_index(IndexConfig(exact_below=0, approximate="ivf"), candidates, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_ann_recall_by_hand() -> None:
    embeddings = np.array([[3.0], [2.0], [1.0], [0.5]], dtype=np.float32)
    swapped = embeddings[[3, 1, 2, 0]]  # its top two are rows 3 and 1, the exact ones are 0 and 1
    query = QueryGroup(np.ones((1, 1), dtype=np.float32))
    assert ann_recall(CandidateIndex(swapped), CandidateIndex(embeddings), [query], 2) == 0.5


def test_ann_recall_counts_bias_and_launched_items() -> None:
    embeddings = np.array([[4.0], [3.0], [2.0], [1.0]], dtype=np.float32)
    swapped = embeddings[[0, 1, 3, 2]]
    index, exact, one = CandidateIndex(swapped), CandidateIndex(embeddings), np.ones((1, 1), dtype=np.float32)
    lifted = np.array([0, 0, 1.5, 0], dtype=np.float32)  # exact: 4, 3.5, 3; swapped: 4, 3, 2.5
    assert ann_recall(index, exact, [QueryGroup(one)], 2) == 1.0
    assert ann_recall(index, exact, [QueryGroup(one, lifted)], 2) == 0.5
    launched = np.array([True, True, False, False])
    assert ann_recall(index, exact, [QueryGroup(one, lifted, launched)], 2) == 1.0
    assert ann_recall(index, exact, [QueryGroup(one), QueryGroup(one, lifted)], 2) == 0.75


def test_ties_with_the_last_exact_item_are_found() -> None:
    embeddings = np.array([[2.0], [1.0], [1.0]], dtype=np.float32)
    other = np.array([[2.0], [0.0], [1.0]], dtype=np.float32)  # lists row 2 where the exact order has row 1
    query = QueryGroup(np.ones((1, 1), dtype=np.float32))
    assert ann_recall(CandidateIndex(other), CandidateIndex(embeddings), [query], 2) == 1.0


def test_no_candidates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no candidate embeddings to index"):
        build_index(IndexConfig(), np.zeros((0, 8), dtype=np.float32), tmp_path / "index")


def test_embeddings_that_are_not_finite_are_refused_by_row(candidates: np.ndarray, tmp_path: Path) -> None:
    broken = candidates.copy()
    broken[7, 3] = np.nan
    with pytest.raises(DataError, match="candidate embedding of item row 7 is not finite"):
        build_index(IndexConfig(), broken, tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_more_probes_than_lists_are_refused() -> None:
    with pytest.raises(ValidationError, match="num_probes=9 is above num_lists=8; lower num_probes"):
        IndexConfig(num_lists=8, num_probes=9)
