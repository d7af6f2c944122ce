"""Builds the index over the candidate embeddings and measures what an approximate one loses."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
from pydantic import Field, model_validator

from contracts.config import StrictConfig
from contracts.errors import DataError
from contracts.files import atomic_file
from contracts.ids import FloatArray
from training.models.candidate_index import CandidateIndex

logger = logging.getLogger(__name__)
_MIN_POINTS_PER_LIST = 39  # below, FAISS warns that its clusters are poor


class IndexConfig(StrictConfig):
    """Exact below a size, approximate above."""

    exact_below: int = Field(default=100_000, ge=0)
    """Catalogues of fewer items are searched exactly."""
    approximate: Literal["ivf", "hnsw"] = "hnsw"
    """Inverted lists (IVF) or a navigable graph (HNSW) for catalogues of at least `exact_below` items."""
    num_lists: int = Field(default=1_024, ge=1)
    """IVF: clusters; fewer where the catalogue has less than 39 items for each."""
    num_probes: int = Field(default=64, ge=1)
    """IVF: clusters that a search visits."""
    num_links: int = Field(default=32, ge=2)
    """HNSW: links of a node."""
    construction_depth: int = Field(default=200, ge=1)
    """HNSW: candidates kept while a node is linked (efConstruction)."""
    search_depth: int = Field(default=512, ge=1)
    """HNSW: candidates kept during a search (efSearch); a search for more raises it."""
    recall_k: int = Field(default=300, ge=1)
    """ANN recall is measured at this cut-off."""
    num_recall_queries: int = Field(default=1_000, ge=1)
    """Queries of the measurement."""
    seed: int = 0
    """Of the clustering and of the sample of queries."""

    @model_validator(mode="after")
    def _probes_within_lists(self) -> IndexConfig:
        if self.num_probes > self.num_lists:
            raise ValueError(f"num_probes={self.num_probes} is above num_lists={self.num_lists}; lower num_probes")
        return self


@dataclass(frozen=True)
class IndexSummary:
    """What was built and how well the approximate index does.

    Attributes:
        kind: `exact`, `ivf` or `hnsw`: what the file holds.
        num_items: embeddings.
        recall_k: cut-off of the recall, at most the number of items.
        ann_recall: mean share of the exact top `recall_k` that the served index finds; 1 if it is exact.
        approximate_recall: the same of the approximate index that the config names, also where it is not served.
        num_queries: queries of the measurement.
        queries: `given`, or `candidates` if the candidates themselves were the queries.
    """

    kind: str
    num_items: int
    recall_k: int
    ann_recall: float
    approximate_recall: float
    num_queries: int
    queries: str

    def metrics(self) -> dict[str, float]:
        """Headline figures for the manifest."""
        at = f"@{self.recall_k}"
        return {f"index.ann_recall{at}": self.ann_recall, f"index.approximate_recall{at}": self.approximate_recall}

    def values(self) -> dict[str, Any]:
        """All fields, as values."""
        return asdict(self)


def build_index(
    config: IndexConfig, candidates: FloatArray, out_file: Path, *, queries: FloatArray | None = None
) -> IndexSummary:
    """Writes the index (inner product) and measures ANN recall against exact search.

    Args:
        config: what to build.
        candidates: [I, E] float32 embeddings by ItemRow, of all items, future ones included.
        out_file: the FAISS file; a flat index stands for exact search.
        queries: [Q, E] query embeddings to measure with; None takes the candidates themselves.

    Raises:
        DataError: no candidates, or embeddings that are not finite.
    """
    candidates = np.ascontiguousarray(candidates, dtype=np.float32)
    if len(candidates) == 0:
        raise DataError("no candidate embeddings to index; expected one for each item of the catalogue")
    if not np.isfinite(candidates).all():
        row = int(np.flatnonzero(~np.isfinite(candidates).all(axis=1))[0])
        raise DataError(f"candidate embedding of item row {row} is not finite; train the two-tower model anew")
    approximate = _build_approximate(config, candidates)
    is_exact = len(candidates) < config.exact_below
    served = _build_flat(candidates) if is_exact else approximate
    with atomic_file(out_file) as temporary:
        faiss.write_index(served, str(temporary))
    sample = _sample(candidates if queries is None else queries, config)
    recall_k = min(config.recall_k, len(candidates))
    recall = ann_recall(CandidateIndex(candidates, approximate), CandidateIndex(candidates), sample, recall_k)
    summary = IndexSummary(
        kind="exact" if is_exact else config.approximate,
        num_items=len(candidates),
        recall_k=recall_k,
        ann_recall=1.0 if is_exact else recall,
        approximate_recall=recall,
        num_queries=len(sample),
        queries="candidates" if queries is None else "given",
    )
    logger.info("index: %s", summary)
    return summary


def ann_recall(index: CandidateIndex, exact: CandidateIndex, queries: FloatArray, k: int) -> float:
    """Mean share of the exact top k that an index finds."""
    found = index.search(queries, k).rows.reshape(len(queries), -1)
    expected = exact.search(queries, k).rows.reshape(len(queries), -1)
    hits = [len(np.intersect1d(*pair, assume_unique=True)) for pair in zip(found, expected, strict=True)]
    return float(np.mean(hits) / expected.shape[1])


def _build_flat(candidates: FloatArray) -> Any:
    index = faiss.IndexFlatIP(candidates.shape[1])
    index.add(candidates)
    return index


def _build_approximate(config: IndexConfig, candidates: FloatArray) -> Any:
    if config.approximate == "hnsw":
        index = faiss.IndexHNSWFlat(candidates.shape[1], config.num_links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = config.construction_depth
        index.hnsw.efSearch = config.search_depth
    else:
        index = _empty_ivf(config, candidates)
    index.add(candidates)
    return index


def _empty_ivf(config: IndexConfig, candidates: FloatArray) -> Any:
    """Trained inverted lists; no more lists than the catalogue can fill."""
    num_lists = max(1, min(config.num_lists, len(candidates) // _MIN_POINTS_PER_LIST))
    quantizer = faiss.IndexFlatIP(candidates.shape[1])
    index = faiss.IndexIVFFlat(quantizer, candidates.shape[1], num_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = config.seed + 1  # 0 would make FAISS draw one
    index.train(candidates)
    index.nprobe = min(config.num_probes, num_lists)
    return index


def _sample(queries: FloatArray, config: IndexConfig) -> FloatArray:
    rng = np.random.default_rng(config.seed)
    count = min(config.num_recall_queries, len(queries))
    rows = np.sort(rng.choice(len(queries), size=count, replace=False))
    return np.ascontiguousarray(queries[rows], dtype=np.float32)
