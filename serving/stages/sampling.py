"""Picks whole lists at once: greedily, or sampled without replacement with known propensities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.ids import BoolArray, IntArray, LongArray
from contracts.options import Order, RerankingOptions
from contracts.splitmix import GAMMA, mix

Doubles = NDArray[np.float64]
_BITS: Final = 53


@dataclass(frozen=True)
class Pool:
    """Candidates of F requests, padded to N.

    Attributes:
        rows: [F, N] int32 ItemRows.
        utilities: [F, N], which greedy lists maximise and sampled ones turn into a softmax.
        valid: [F, N] mask; False for padding and candidates that must not be picked.
        k: [F] int32, items wanted.
        options: reranking options.
    """

    rows: IntArray
    utilities: Doubles
    valid: BoolArray
    k: IntArray
    options: RerankingOptions

    def take(self, requests: BoolArray) -> Pool:
        """The candidates of some requests, by a mask [F]."""
        return Pool(
            self.rows[requests],
            self.utilities[requests],
            self.valid[requests],
            self.k[requests],
            self.options.take(requests),
        )

    @property
    def greedy(self) -> BoolArray:
        """[F]: whether the list is greedy."""
        return np.asarray(self.options.order == Order.GREEDY)


@dataclass(frozen=True)
class Drawn:
    """Lists of at most K items.

    Attributes:
        columns: [F, K] places among a request's candidates; -1 after the last item.
        propensities: [F, K] probability of each pick given those before it; 1 in greedy lists.
    """

    columns: LongArray
    propensities: Doubles


def draw_at_once(pool: Pool, width: int) -> Drawn:
    """Picks lists whose utilities do not depend on earlier picks.

    Args:
        pool: the candidates.
        width: K.
    """
    log_q = log_probabilities(pool.utilities, pool.valid, pool.options)
    noisy = log_q + gumbel_noise(pool.options.seeds, pool.rows)
    keys = np.where(pool.valid, np.where(pool.greedy[:, None], pool.utilities, noisy), -np.inf)
    order = np.lexsort((pool.rows, -keys), axis=-1)
    ordered = np.take_along_axis(log_q, order, axis=1)
    left = np.logaddexp.accumulate(ordered[:, ::-1], axis=1)[:, ::-1]
    wanted = np.arange(width) < np.minimum(pool.k, pool.valid.sum(axis=1))[:, None]
    chances = np.exp(np.subtract(ordered, left, out=np.zeros_like(left), where=np.isfinite(left)))
    chances[pool.greedy] = 1
    return Drawn(np.where(wanted, order[:, :width], -1), chances[:, :width])


def log_probabilities(utilities: Doubles, valid: BoolArray, options: RerankingOptions) -> Doubles:
    """Log q of each candidate: q = (1 - ε) · softmax(utility / T) + ε / n.

    Args:
        utilities: [F, N].
        valid: [F, N], the n candidates of each request.
        options: temperatures T and shares ε of the F requests.

    Returns:
        [F, N], -inf outside of `valid`.
    """
    with np.errstate(divide="ignore"):  # log 0 = -inf is intended
        softmax_share, uniform_share = np.log1p(-options.epsilon), np.log(options.epsilon)
    scaled = np.where(valid, utilities / options.temperature[:, None], -np.inf)
    uniform = uniform_share - np.log(np.maximum(valid.sum(axis=1), 1))
    mixed = np.logaddexp((softmax_share - log_sum(scaled))[:, None] + scaled, uniform[:, None])
    return np.where(valid, mixed, -np.inf)


def log_sum(values: Doubles) -> Doubles:
    """Log Σ exp over the last axis of [F, N], [F]; 0 where nothing is finite."""
    sums: Doubles = np.logaddexp.reduce(values, axis=-1)
    return np.where(np.isfinite(sums), sums, 0.0)


def gumbel_noise(seeds: NDArray[np.uint64], rows: IntArray, draw: int = 0) -> Doubles:
    """Standard Gumbel noise [F, N]: the items with the largest log q + noise are a sample without replacement from q.

    Source: Yellott, "The relationship between Luce's choice axiom, Thurstone's theory of comparative judgment, and the
    double exponential distribution", 1977. The noise of an item is output number `row` of SplitMix64
    (`contracts.splitmix`), so it does not depend on other candidates, their order, or the batch.

    Args:
        seeds: [F].
        rows: ItemRows [F, N].
        draw: number of an independent sample.
    """
    starts = mix(seeds + GAMMA * np.array([draw + 1], dtype=np.uint64))
    bits = mix(starts[:, None] + GAMMA * (rows.astype(np.uint64) + np.uint64(1)))
    uniform = ((bits >> np.uint64(64 - _BITS)).astype(np.float64) + 0.5) * 2.0**-_BITS
    return np.asarray(-np.log(-np.log(uniform)))
