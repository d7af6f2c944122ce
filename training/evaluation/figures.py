"""Figures with intervals from the outcomes of methods: the parts of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from contracts import columns as c
from contracts.ids import AnyArray, BoolArray, FloatArray, IntArray
from training.evaluation import metrics
from training.evaluation.bootstrap import Estimate, Figure, UserBootstrap
from training.evaluation.ranked import LIST_K, Ranked
from training.evaluation.test_day import TestDay

Figures = dict[str, Figure]

CURVE_K: Final = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300)
SHARED: Final = ("hr@10", "ndcg@10")
"""Metrics with captured share and regret."""
POPULARITIES: Final = ("popularity_all", "popularity_3d")
_SINGLE: Final[dict[str, Callable[[IntArray], metrics.Values]]] = {
    **{f"hr@{k}": partial(metrics.hit_rate, k=k) for k in (1, 5, 10, 20, 50)},
    **{f"ndcg@{k}": partial(metrics.ndcg, k=k) for k in (5, 10, 20)},
    "mrr": metrics.reciprocal_rank,
    **{f"recall@{k}": partial(metrics.hit_rate, k=k) for k in (100, 300)},
}
_WHOLE_DAY: Final = {
    f"precision@{LIST_K}": metrics.precision,
    f"recall@{LIST_K}": metrics.recall,
    f"f1@{LIST_K}": metrics.f1,
    f"map@{LIST_K}": metrics.average_precision,
    f"ndcg@{LIST_K}": metrics.list_ndcg,
}


class FigureMaker:
    """Figures over one test day, all with the same bootstrap draws.

    Args:
        day: the queries.
        num_replicates: of the bootstrap.
        seed: of the bootstrap.
    """

    def __init__(self, day: TestDay, num_replicates: int, seed: int) -> None:
        self.day, self.num_replicates, self.seed = day, num_replicates, seed
        self.bootstrap = UserBootstrap(day.subject, num_replicates, seed)
        self._queries, self._targets = day.targets_of_day()

    def single(self, ranked: Ranked, where: BoolArray | None = None) -> Figures:
        """First protocol: one target a query."""
        return self.some(ranked, tuple(_SINGLE), where)

    def some(self, ranked: Ranked, names: tuple[str, ...], where: BoolArray | None = None) -> Figures:
        """Some metrics of the first protocol."""
        values = [_SINGLE[name](ranked.rank) for name in names]
        return self._figures(names, values, self._chosen(ranked, where))

    def mean(self, values: AnyArray, where: BoolArray) -> Figure:
        """Mean of one value a query [Q]."""
        return self.bootstrap.mean(values, where).json()

    def recall_of(self, ranked: Ranked, cutoffs: tuple[int, ...]) -> Figures:
        """Recall of retrieval at its own cut-offs, and MRR."""
        values = [*(metrics.hit_rate(ranked.rank, k) for k in cutoffs), metrics.reciprocal_rank(ranked.rank)]
        return self._figures([*(f"recall@{k}" for k in cutoffs), "mrr"], values, self._chosen(ranked, None))

    def whole_day(self, ranked: Ranked) -> Figures:
        """Second protocol: all items of the subject's day are targets."""
        hits, counts = self._hits(ranked.heads)
        chosen = self.day.whole_day & ranked.scored
        return self._figures(tuple(_WHOLE_DAY), [metric(hits, counts) for metric in _WHOLE_DAY.values()], chosen)

    def lists(self, ranked: Ranked, shares: AnyArray, vectors: FloatArray | None) -> Figures:
        """Coverage, novelty and diversity of the first items, over the queries of the second protocol.

        Lists without an item do not count, and those of one item have no diversity.

        Args:
            ranked: the outcome.
            shares: each item's share of earlier interactions [I].
            vectors: unit content vectors [I, D]; None leaves diversity out.
        """
        chosen = self.day.whole_day & ranked.scored & (ranked.heads[:, 0] >= 0)
        heads = np.where(chosen[:, None], ranked.heads, 0)
        count, eligible = int(chosen.sum()), int((self.day.launched_at <= self.day.time[-1]).sum())
        covered = metrics.coverage(ranked.heads[chosen], eligible) if count else None
        figures: Figures = {
            f"coverage@{LIST_K}": Estimate(covered, None, None, count).json(),
            f"novelty@{LIST_K}": self.mean(metrics.novelty(heads, shares), chosen),
        }
        if vectors is not None:
            pairs = chosen & (ranked.heads[:, 1] >= 0)
            diversity = np.zeros(len(heads))
            diversity[pairs] = metrics.intra_list_diversity(heads[pairs], vectors)
            figures[f"intra_list_diversity@{LIST_K}"] = self.mean(diversity, pairs)
        return figures

    def captured_share(self, model: Ranked, popularities: Mapping[str, Ranked], ceiling: Ranked) -> Figures:
        """(model - popularity) / (oracle - popularity), against the better of the two popularities."""
        where = self._chosen(model, ceiling.scored)
        shares: Figures = {}
        for name in SHARED:
            base = max((_SINGLE[name](ranked.rank) for ranked in popularities.values()), key=lambda v: v[where].sum())
            metric = _SINGLE[name]
            shares[name] = self.bootstrap.captured_share(metric(model.rank), base, metric(ceiling.rank), where).json()
        return shares

    def regret(self, model: Ranked, ceiling: Ranked) -> Figures:
        """Oracle minus model on the same queries."""
        where = self._chosen(model, ceiling.scored)
        values = [_SINGLE[name](ceiling.rank) - _SINGLE[name](model.rank) for name in SHARED]
        return self._figures(SHARED, values, where)

    def ratio(self, model: Ranked, ceiling: Ranked, name: str) -> Figure:
        """A metric of one method as a share of the other's."""
        zeros, metric = np.zeros(len(self.day)), _SINGLE[name]
        where = self._chosen(model, ceiling.scored)
        return self.bootstrap.captured_share(metric(model.rank), zeros, metric(ceiling.rank), where).json()

    def curve(self, ranked: Ranked) -> list[float] | None:
        """Hit rate at each of `CURVE_K`; None if the method scored no query."""
        ranks = ranked.rank[self._chosen(ranked, None)]
        return [float(metrics.hit_rate(ranks, k).mean()) for k in CURVE_K] if len(ranks) else None

    def segments(self, devices: Sequence[str] | None) -> dict[str, BoolArray]:
        """Segments of the queries: user and item, warm and cold, and the device by name.

        Args:
            devices: by code, from 1 on; None = the schema has no device.
        """
        masks = {
            "cold_user": self.day.cold_user,
            "warm_user": ~self.day.cold_user,
            "cold_item": self.day.cold_item,
            "warm_item": ~self.day.cold_item,
        }
        if devices is None:
            return masks
        device = self.day.events.context_codes(c.DEVICE_TYPE)[self.day.rows]
        masks |= {f"device_{name}": device == code for code, name in enumerate(devices, start=1)}
        if (device == 0).any():
            masks["device_unknown"] = device == 0
        return masks

    def _figures(self, names: Sequence[str], values: Sequence[metrics.Values], where: BoolArray) -> Figures:
        estimates = self.bootstrap.means(values, where)
        return {name: estimate.json() for name, estimate in zip(names, estimates, strict=True)}

    def _hits(self, heads: IntArray) -> tuple[BoolArray, IntArray]:
        """Whether each place of each list holds a target [Q, LIST_K], and the number of targets [Q], at least 1."""
        num_items = self.day.num_items
        keys = self._queries * num_items + self._targets
        wanted = np.arange(len(heads))[:, None] * num_items + heads
        counts = np.bincount(self._queries, minlength=len(heads))
        return np.isin(wanted, keys) & (heads >= 0), np.maximum(counts, 1).astype(np.int32)

    def _chosen(self, ranked: Ranked, where: BoolArray | None) -> BoolArray:
        chosen = self.day.single & ranked.scored
        return chosen if where is None else chosen & where


def content_vectors(text: FloatArray, image: FloatArray) -> FloatArray | None:
    """Unit vectors of the items from both embeddings [I, D]; None where no item has any."""
    vectors = np.concatenate([_unit(np.asarray(text)), _unit(np.asarray(image))], axis=1)
    return _unit(vectors) if vectors.any() else None


def _unit(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)
