"""Builds the index over the candidate embeddings and measures the recall of an approximate one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import faiss
import numpy as np
from pydantic import Field, model_validator

from contracts.config import StrictConfig
from contracts.errors import DataError
from contracts.files import atomic_file
from contracts.ids import FloatArray, IntArray
from training.held_out_queries import QueryGroup
from training.models.candidate_index import CandidateIndex

logger = logging.getLogger(__name__)
METRICS: Final = "index."
NUM_QUERIES: Final = f"{METRICS}num_recall_queries"
"""Manifest metric: number of queries that the recalls are averaged over."""
_MIN_POINTS_PER_LIST = 39  # below, FAISS warns that its clusters are poor
_TIE: Final = 1e-5  # the index and the matrix product round differently


class IndexConfig(StrictConfig):
    """Exact search for small catalogues, approximate search for large ones."""

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
    """Queries of the measurement, events of the validation days."""
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
        ann_recall: mean share of the exact top `recall_k` that the served index finds; 1 if it is exact, None if there
            were no queries to measure with.
        approximate_recall: the same of the approximate index that the config names, also where it is not served.
        num_queries: queries of the measurement.
    """

    kind: str
    num_items: int
    recall_k: int
    ann_recall: float | None
    approximate_recall: float | None
    num_queries: int

    def metrics(self) -> dict[str, float]:
        """Headline figures for the manifest; none where nothing was measured."""
        at = f"@{self.recall_k}"
        figures = {
            f"{METRICS}ann_recall{at}": self.ann_recall,
            f"{METRICS}approximate_recall{at}": self.approximate_recall,
            NUM_QUERIES: float(self.num_queries),
        }
        return {name: value for name, value in figures.items() if value is not None}


def build_index(
    config: IndexConfig, candidates: FloatArray, out_file: Path, queries: Sequence[QueryGroup] = ()
) -> IndexSummary:
    """Writes the index (inner product) and measures ANN recall against exact search.

    Args:
        config: what to build.
        candidates: [I, E] float32 embeddings by ItemRow, of all items, future ones included.
        out_file: the FAISS file; a flat index stands for exact search.
        queries: what to measure with, see `training.held_out_queries`; candidates are no queries, and a bias changes
            the nearest items.

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
    recall_k = min(config.recall_k, len(candidates))
    recall = ann_recall(CandidateIndex(candidates, approximate), CandidateIndex(candidates), queries, recall_k)
    summary = IndexSummary(
        kind="exact" if is_exact else config.approximate,
        num_items=len(candidates),
        recall_k=recall_k,
        ann_recall=1.0 if is_exact else recall,
        approximate_recall=recall,
        num_queries=sum(len(group) for group in queries),
    )
    logger.info("index: %s", summary)
    return summary


def ann_recall(index: CandidateIndex, exact: CandidateIndex, queries: Sequence[QueryGroup], k: int) -> float | None:
    """Mean share of the exact top k that an index finds, bias and launched items as given; None without queries.

    An item whose score ties with the last exact one counts as found: which of them is listed is arbitrary.
    """
    shares = []
    for group in queries:
        owners = np.arange(len(group))
        best = exact.search(group.embeddings, k, group.bias, group.eligible)
        found = index.search(group.embeddings, k, group.bias, group.eligible)
        scores = exact.score(
            group.embeddings, found.rows, np.repeat(owners, found.lengths), group.bias, group.eligible
        ).scores
        for expected, own in zip(_split(best.scores, best.lengths), _split(scores, found.lengths), strict=True):
            if len(expected):
                last = expected[-1] - _TIE * max(1.0, abs(expected[-1]))
                shares.append(np.count_nonzero(own >= last) / len(expected))
    return float(np.mean(shares)) if shares else None


def _split(values: FloatArray, lengths: IntArray) -> list[FloatArray]:
    return np.split(values, np.cumsum(lengths)[:-1])


def _build_flat(candidates: FloatArray) -> faiss.Index:
    index = faiss.IndexFlatIP(candidates.shape[1])
    index.add(candidates)
    return index


def _build_approximate(config: IndexConfig, candidates: FloatArray) -> faiss.Index:
    index = _empty_hnsw(config, candidates) if config.approximate == "hnsw" else _empty_ivf(config, candidates)
    index.add(candidates)
    return index


def _empty_hnsw(config: IndexConfig, candidates: FloatArray) -> faiss.Index:
    index = faiss.IndexHNSWFlat(candidates.shape[1], config.num_links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = config.construction_depth
    index.hnsw.efSearch = config.search_depth
    return index


def _empty_ivf(config: IndexConfig, candidates: FloatArray) -> faiss.Index:
    """Trained inverted lists; no more lists than the catalogue can fill."""
    num_lists = max(1, min(config.num_lists, len(candidates) // _MIN_POINTS_PER_LIST))
    quantizer = faiss.IndexFlatIP(candidates.shape[1])
    index = faiss.IndexIVFFlat(quantizer, candidates.shape[1], num_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = config.seed + 1  # 0 would make FAISS draw one
    index.train(candidates)
    index.nprobe = min(config.num_probes, num_lists)
    return index
