"""Picks lists item by item with diversity: maximal marginal relevance and category caps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contracts.ids import AnyArray, BoolArray, FloatArray, IntArray, LongArray
from serving.stages.sampling import Doubles, Drawn, Pool, gumbel_noise, log_probabilities, log_sum

Similarity = Callable[[LongArray], FloatArray]
"""Cosines [F, N] of all candidates to the ones in columns [F]."""


def draw_in_turn(pool: Pool, width: int, codes: IntArray, similar_to: Similarity | None) -> Drawn:
    """Picks lists item by item, for all requests at once.

    A pick maximises (1 - λ) · relevance - λ · similarity, where relevance is the utility scaled to [0, 1] among the
    request's candidates and similarity the highest cosine to an earlier pick (Carbonell and Goldstein, "The use of
    MMR", 1998). In units of utility this is utility - penalty · similarity with penalty = λ / (1 - λ) · range, from
    which lists are sampled. Items whose category has reached its cap cannot be picked.

    Args:
        pool: the candidates.
        width: K.
        codes: [F, N, 2] encoded categories; 0 = none, never capped.
        similar_to: cosines; None if no request uses MMR.
    """
    size, everyone = len(pool.k), np.arange(len(pool.k))
    columns = np.full((size, width), -1, dtype=np.int64)
    propensities = np.ones((size, width))
    penalty = _penalty(pool)
    left = pool.valid.copy()
    noise = None if pool.greedy.all() else gumbel_noise(pool.options.seeds, pool.rows)
    same = np.zeros(codes.shape, dtype=np.int32)
    similarity: AnyArray = np.zeros(pool.rows.shape)
    for turn in range(width):
        legal = left & (same < pool.options.caps[:, None]).all(axis=2) & (turn < pool.k)[:, None]
        utilities = pool.utilities - penalty[:, None] * similarity
        if noise is None:
            pick, chance = _best(pool.rows, utilities, legal), np.ones(size)
        else:
            pick, chance = _draw(pool, utilities, legal, _fresh(noise, pool, turn))
        found = legal[everyone, pick]
        if not found.any():
            break
        columns[:, turn] = np.where(found, pick, -1)
        propensities[:, turn] = chance
        left[everyone, pick] = False
        same += (codes == codes[everyone, pick][:, None]) & (codes > 0)
        if similar_to is not None:
            to_this = similar_to(pick)
            similarity = to_this if turn == 0 else np.maximum(similarity, to_this)
    return Drawn(columns, propensities)


def _penalty(pool: Pool) -> Doubles:
    """[F]: the penalty of a similarity of 1, in units of utility."""
    highest = np.where(pool.valid, pool.utilities, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(pool.valid, pool.utilities, np.inf).min(axis=1, initial=np.inf)
    spread = np.where(highest > lowest, highest - lowest, 1.0)
    weight = pool.options.mmr
    return np.asarray(weight / (1 - weight) * spread)


def _fresh(noise: Doubles, pool: Pool, turn: int) -> Doubles:
    """Noise of a turn: with MMR, where picks change the utilities, each turn needs new noise."""
    changing = pool.options.mmr > 0
    if turn == 0 or not changing.any():
        return noise
    return np.where(changing[:, None], gumbel_noise(pool.options.seeds, pool.rows, turn), noise)


def _draw(pool: Pool, utilities: Doubles, legal: BoolArray, noise: Doubles) -> tuple[LongArray, Doubles]:
    """Columns [F] of the next picks and their probabilities [F] among legal candidates."""
    log_q = log_probabilities(utilities, pool.valid, pool.options)
    pick = _best(pool.rows, np.where(pool.greedy[:, None], utilities, log_q + noise), legal)
    among = log_sum(np.where(legal, log_q, -np.inf))
    chances = np.exp(np.minimum(log_q[np.arange(len(pick)), pick] - among, 0.0))
    return pick, np.where(pool.greedy, 1.0, chances)


def _best(rows: IntArray, keys: Doubles, legal: BoolArray) -> LongArray:
    """[F]: the column of the largest legal key; exact ties by ItemRow."""
    keys = np.where(legal, keys, -np.inf)
    best = keys == keys.max(axis=1, keepdims=True)
    return np.asarray(np.where(best, rows, np.iinfo(np.int32).max).argmin(axis=1))
