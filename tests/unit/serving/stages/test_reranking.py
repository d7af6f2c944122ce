"""Sampling, similarity and caps: hand-worked lists and propensities, frequencies, and what always holds."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from contracts.errors import BundleError
from contracts.messages import Candidates, Reranked
from contracts.options import CAPPED_COLUMNS, NO_CAP, Order, RerankingOptions
from serving.stages.content_lookup import ContentLookup
from serving.stages.reranking import WEIGHTED_POOL, Reranking
from serving.stages.sampling import gumbel_noise
from tests.fixtures.item_lookup import item_lookup
from tests.fixtures.reranking_options import reranking_options

NUM_ITEMS = 400
RNG = np.random.default_rng(0)
CODES = np.stack([np.arange(NUM_ITEMS) % 4, np.arange(NUM_ITEMS) % 7], axis=1).astype(np.int32)
"""Category l1 is row % 4, l2 row % 7; 0 = none."""
CONTENT = ContentLookup(*(RNG.normal(size=(NUM_ITEMS, 3)).astype(np.float32) for _ in range(2)))
ITEMS = item_lookup(NUM_ITEMS, dict(zip(CAPPED_COLUMNS, CODES.T, strict=True)))
STAGE = Reranking("v", ITEMS, CONTENT)


def candidates(*logits: list[float], rows: list[list[int]] | None = None) -> Candidates:
    lists = rows or [list(range(len(one))) for one in logits]
    return Candidates(
        "v",
        np.array([row for one in lists for row in one], dtype=np.int32),
        np.array([logit for one in logits for logit in one], dtype=np.float32),
        np.array([len(one) for one in logits], dtype=np.int32),
    )


def rerank(given: Candidates, k: int, options: RerankingOptions, stage: Reranking = STAGE) -> Reranked:
    return stage(given, np.full(len(given), k, dtype=np.int32), options)


def arrays_of(options: RerankingOptions) -> list[np.ndarray]:
    return [getattr(options, name) for name in ("order", "temperature", "epsilon", "mmr", "caps", "seeds")]


def lists_of(reranked: Reranked) -> list[list[int]]:
    return [part.tolist() for part in np.split(reranked.items.rows, reranked.items.offsets[1:-1])]


def chance_of(picks: tuple[int, ...], q: np.ndarray) -> float:
    """q_i / (1 - Σ q of earlier picks), over all picks."""
    return float(np.prod([q[i] / (1 - q[list(picks[:at])].sum()) for at, i in enumerate(picks)]))


LOGITS = [1.0, 0.0, -0.5, 2.0]


def expected_q(temperature: float, epsilon: float) -> np.ndarray:
    softmax = np.exp(np.array(LOGITS) / temperature)
    return (1 - epsilon) * softmax / softmax.sum() + epsilon / len(LOGITS)


@pytest.mark.parametrize(("temperature", "epsilon"), [(1.0, 0.0), (0.7, 0.2), (2.0, 1.0)])
def test_sampled_lists_are_as_frequent_as_their_propensities_say(temperature: float, epsilon: float) -> None:
    draws = 20_000
    options = reranking_options(draws, Order.SAMPLED, temperature=temperature, epsilon=epsilon)
    result = rerank(candidates(*[LOGITS] * draws), 2, options)
    rows, chances = result.items.rows.reshape(draws, 2), result.propensities.reshape(draws, 2)
    q = expected_q(temperature, epsilon)
    for picks in permutations(range(4), 2):
        drawn = (rows == picks).all(axis=1)
        expected = chance_of(picks, q)
        np.testing.assert_allclose(chances[drawn].prod(axis=1), expected, rtol=1e-5)
        assert abs(drawn.mean() - expected) < 4 * np.sqrt(expected / draws), picks


def test_propensities_by_hand() -> None:
    """q = 1/2, 1/4, 1/8, 1/8: after a pick, what is left shares the rest."""
    result = rerank(candidates([np.log(4), np.log(2), 0.0, 0.0]), 4, reranking_options(1, Order.SAMPLED))
    q = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 8])
    left, expected = 1.0, []
    for row in result.items.rows:
        expected.append(q[row] / left)
        left -= q[row]
    np.testing.assert_allclose(result.propensities, expected, rtol=1e-6)
    assert result.propensities[-1] == 1
    assert result.items.scores[result.items.rows == 0] == pytest.approx(0.8)  # sigmoid(log 4)


def test_nearly_certain_picks_have_sane_propensities() -> None:
    result = rerank(candidates([100.0, 50.0, 0.0]), 3, reranking_options(1, Order.SAMPLED, temperature=0.01))
    assert lists_of(result) == [[0, 1, 2]]
    np.testing.assert_allclose(result.propensities, [1, 1, 1])


def test_weighted_is_a_softmax_of_scores_among_the_best() -> None:
    draws = 20_000
    score = 1 / (1 + np.exp(-np.array(LOGITS)))
    q = np.exp(score / 0.2) / np.exp(score / 0.2).sum()
    result = rerank(candidates(*[LOGITS] * draws), 1, reranking_options(draws, Order.WEIGHTED, temperature=0.2))
    np.testing.assert_allclose(np.bincount(result.items.rows) / draws, q, atol=4 * np.sqrt(0.25 / draws))
    np.testing.assert_allclose(result.propensities, q[result.items.rows], rtol=1e-5)
    many = candidates(list(np.linspace(2, -2, 300)))
    even = reranking_options(1, Order.WEIGHTED, temperature=1_000)
    assert sorted(rerank(many, WEIGHTED_POOL, even).items.rows) == list(range(WEIGHTED_POOL))
    assert sorted(rerank(many, 250, even).items.rows) == list(range(250))


def test_caps_by_hand() -> None:
    """Rows 1, 5, 9, 13 are of category 1, 2 and 6 of category 2, 4 of none; two of each at most."""
    given = candidates([9, 8, 7, 6, 5, 4, 3], rows=[[1, 5, 9, 4, 8, 2, 13]])
    assert lists_of(rerank(given, 7, reranking_options(caps=(2, NO_CAP)))) == [[1, 5, 4, 8, 2]]
    # l2 is row % 7: 1 and 8 share category 1, 2 and 9 category 2.
    assert lists_of(rerank(given, 7, reranking_options(caps=(2, 1)))) == [[1, 5, 4, 2]]
    assert lists_of(rerank(given, 3, reranking_options(caps=(1, NO_CAP)))) == [[1, 4, 8]]


def test_sampling_under_a_cap_shares_what_the_cap_allows() -> None:
    """Category 1 holds rows 1 and 5: after one of them the other cannot follow."""
    draws, logits = 5_000, [0.0, 1.0, 0.5]
    given = candidates(*[logits] * draws, rows=[[1, 5, 2]] * draws)
    result = rerank(given, 2, reranking_options(draws, Order.SAMPLED, caps=(1, NO_CAP)))
    assert {tuple(one) for one in lists_of(result)} == {(1, 2), (5, 2), (2, 1), (2, 5)}
    q = dict(zip([1, 5, 2], np.exp(logits) / np.exp(logits).sum(), strict=True))
    for (first, second), chances in zip(lists_of(result), result.propensities.reshape(draws, 2), strict=True):
        after = 1.0 if first != 2 else q[second] / (q[1] + q[5])
        np.testing.assert_allclose(chances, [q[first], after], rtol=1e-5)


RIGHT, UP = [1.0, 0.0], [0.0, 1.0]
TWINS = ContentLookup(
    text=np.array([RIGHT, RIGHT, UP, UP, [0, 0]], dtype=np.float32),
    image=np.array([RIGHT, RIGHT, UP, RIGHT, [0, 0]], dtype=np.float32),
)


def test_similarity_by_hand() -> None:
    np.testing.assert_allclose(TWINS.directions(np.array([0, 3]))[0], np.array([1, 0, 1, 0]) / np.sqrt(2), rtol=1e-6)
    directions = TWINS.directions(np.arange(5, dtype=np.int32))
    # Half of item 3, its picture, is like that of item 0; item 4 has neither text nor picture.
    np.testing.assert_allclose(directions @ directions[0], [1, 1, 0, 0.5, 0], atol=1e-6)


def test_mmr_by_hand() -> None:
    stage = Reranking("v", ITEMS, TWINS)
    given = candidates([10.0, 9.0, 6.0, 5.0, 0.0])  # relevance 1, 0.9, 0.6, 0.5, 0
    # λ = 0.5: first 0; then 0.9 - 1, 0.6 - 0, 0.5 - 0.5, 0 - 0, so 2; then 0.9 - 1, 0.5 - 0.5, 0: 3 before 4 by row.
    assert lists_of(rerank(given, 5, reranking_options(mmr=0.5), stage)) == [[0, 2, 3, 4, 1]]
    # λ = 0.2: after 0, 0.8 · 0.9 - 0.2 = 0.52 and 0.8 · 0.6 = 0.48.
    assert lists_of(rerank(given, 3, reranking_options(mmr=0.2), stage)) == [[0, 1, 2]]
    equal = candidates([1.0, 1.0, 1.0])
    assert lists_of(rerank(equal, 3, reranking_options(mmr=0.5), stage)) == [[0, 2, 1]]


def test_sampling_with_similarity_draws_each_pick_from_what_the_last_one_left() -> None:
    """Utilities 1, 0, 0 and λ = 0.5: a similarity of 1 takes 1 from the utility."""
    draws = 20_000
    stage = Reranking("v", ITEMS, TWINS)
    options = reranking_options(draws, Order.SAMPLED, mmr=0.5)
    result = rerank(candidates(*[[1.0, 0.0, 0.0]] * draws), 2, options, stage)
    rows, chances = result.items.rows.reshape(draws, 2), result.propensities.reshape(draws, 2)
    utilities, similarity = np.array([1.0, 0.0, 0.0]), np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    for first, second in permutations(range(3), 2):
        drawn = (rows == (first, second)).all(axis=1)
        before, after = np.exp(utilities), np.exp(utilities - similarity[first])
        after[first] = 0
        expected = [before[first] / before.sum(), after[second] / after.sum()]
        np.testing.assert_allclose(chances[drawn], [expected] * drawn.sum(), rtol=1e-5)
        chance = np.prod(expected)
        assert abs(drawn.mean() - chance) < 4 * np.sqrt(chance / draws)


def test_noise_is_of_the_seed_and_the_item_alone() -> None:
    rows = np.array([[3, 1, 2], [3, 3, 3]], dtype=np.int32)
    noise = gumbel_noise(np.array([5, 6], dtype=np.uint64), rows)
    again = gumbel_noise(np.array([6, 5], dtype=np.uint64), np.array([[3, 1], [2, 3]], dtype=np.int32))
    assert noise[1].tolist() == [again[0, 0]] * 3
    assert noise[0].tolist() == [again[1, 1], gumbel_noise(np.array([5], dtype=np.uint64), rows[:1])[0, 1], again[1, 0]]
    assert noise[0, 0] != noise[1, 0]
    assert (gumbel_noise(np.array([5, 6], dtype=np.uint64), rows, draw=1) != noise).all()


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel_noise(np.arange(200, dtype=np.uint64), np.tile(np.arange(500, dtype=np.int32), (200, 1)))
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert noise.var() == pytest.approx(np.pi**2 / 6, abs=0.05)
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.02


def test_another_bundle_is_refused() -> None:
    other = Candidates("w", np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(1, np.int32))
    with pytest.raises(BundleError, match="asked for bundle 'w', this replica serves 'v'"):
        STAGE(other, np.ones(1, dtype=np.int32))


def test_requests_of_all_kinds_in_one_batch_keep_their_places() -> None:
    kinds = [
        reranking_options(),
        reranking_options(1, Order.SAMPLED),
        reranking_options(caps=(1, 1)),
        reranking_options(mmr=0.3),
    ]
    options = RerankingOptions(*(np.concatenate(parts) for parts in zip(*map(arrays_of, kinds), strict=True)))
    given = candidates([1.0, 2.0], [], [3.0, 1.0, 2.0], [0.5])
    result = rerank(given, 5, options)
    assert [len(one) for one in lists_of(result)] == [2, 0, 3, 1]
    assert lists_of(result)[0] == [1, 0]
    assert lists_of(result)[2] == [0, 2, 1]


def test_options_check_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"caps is int32\[1, 2\], expected int32\[2, 2\]"):
        RerankingOptions(
            *(array if at == 4 else np.repeat(array, 2) for at, array in enumerate(arrays_of(reranking_options())))
        )
