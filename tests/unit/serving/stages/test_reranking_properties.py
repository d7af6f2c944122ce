"""What holds for every list and all options of reranking."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from contracts.messages import Candidates
from contracts.options import NO_CAP, Order, RerankingOptions
from tests.fixtures.reranking_options import reranking_options
from tests.unit.serving.stages.test_reranking import (
    CODES,
    CONTENT,
    NUM_ITEMS,
    STAGE,
    arrays_of,
    candidates,
    lists_of,
    rerank,
)

ANY_OPTIONS = st.builds(
    reranking_options,
    st.just(1),
    st.sampled_from(Order),
    temperature=st.floats(0.01, 10),
    epsilon=st.sampled_from([0.0, 0.1, 1.0]),
    mmr=st.sampled_from([0.0, 0.0, 0.4, 0.9]),
    caps=st.sampled_from(list(product([NO_CAP, 1, 3], repeat=2))),
    seeds=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=1),
)


ANY_LIST = st.lists(
    st.tuples(st.integers(0, NUM_ITEMS - 1), st.floats(-8, 8, width=16)), max_size=30, unique_by=lambda t: t[0]
)


def as_candidates(*lists: list[tuple[int, float]]) -> Candidates:
    return candidates(*[[logit for _, logit in one] for one in lists], rows=[[row for row, _ in one] for one in lists])


@settings(deadline=None)
@given(st.lists(st.tuples(ANY_LIST, ANY_OPTIONS, st.integers(1, 12)), min_size=1, max_size=5), st.randoms())
def test_what_always_holds(
    requests: list[tuple[list[tuple[int, float]], RerankingOptions, int]], shuffler: object
) -> None:
    lists, kinds, k = zip(*requests, strict=True)
    options = RerankingOptions(*(np.concatenate(parts) for parts in zip(*map(arrays_of, kinds), strict=True)))
    result = STAGE(as_candidates(*lists), np.array(k, dtype=np.int32), options)
    assert ((result.propensities > 0) & (result.propensities <= 1)).all()
    ends = result.items.offsets
    for place, (given_list, kind, wanted) in enumerate(requests):
        mine = slice(ends[place], ends[place + 1])
        shown = result.items.rows[mine].tolist()
        assert len(set(shown)) == len(shown)
        assert set(shown) <= {row for row, _ in given_list}
        caps = kind.caps[0]
        for column, cap in enumerate(caps):
            codes = CODES[shown, column]
            assert np.bincount(codes[codes > 0], minlength=1).max() <= cap
        if (caps == NO_CAP).all():
            assert len(shown) == min(wanted, len(given_list))
        elif len(shown) < wanted:  # nothing that is left out would have been allowed
            for row in {row for row, _ in given_list} - set(shown):
                full = [
                    CODES[row, at] and (CODES[shown, at] == CODES[row, at]).sum() >= cap for at, cap in enumerate(caps)
                ]
                assert any(full)
        turned = list(given_list)
        shuffler.shuffle(turned)  # type: ignore[attr-defined]
        alone = STAGE(as_candidates(turned), np.array([wanted], dtype=np.int32), kind)
        assert alone.items.rows.tolist() == shown
        np.testing.assert_allclose(alone.propensities, result.propensities[mine], rtol=1e-5)


def narrowest_lead(order: list[int], picked: list[int], mmr: float, cap: int) -> float:
    """By how much the utility of each pick exceeds that of the next best item, at least; rows are 100 and on."""
    rows = np.arange(100, 120)
    cosines = CONTENT.directions(rows) @ CONTENT.directions(rows).T
    penalty = mmr / (1 - mmr) * 19 / 4
    leads = []
    for turn, row in enumerate(picked):
        before = np.array(picked[:turn], dtype=np.int64)
        similarity = cosines[:, before - 100].max(axis=1, initial=-np.inf) if turn else np.zeros(20)
        utilities = np.array(order) / 4 - penalty * similarity
        of_category = (CODES[rows, :1] == CODES[before, 0]).sum(axis=1)
        others = (of_category < cap) & ~np.isin(rows, picked[: turn + 1])
        leads.append(utilities[row - 100] - utilities[others].max(initial=-np.inf))
    return float(min(leads))


@settings(deadline=None)
@given(
    st.permutations(range(20)),
    st.integers(0, 2**64 - 1),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([(NO_CAP, NO_CAP), (2, NO_CAP)]),
)
def test_sampling_without_temperature_is_greedy(order: list[int], seed: int, mmr: float, caps: tuple[int, int]) -> None:
    """Where similarity brings no two items as near to each other as the noise that is left."""
    given = candidates([place / 4 for place in order], rows=[list(range(100, 120))])
    cold = reranking_options(1, Order.SAMPLED, temperature=1e-4, mmr=mmr, caps=caps, seeds=[seed])
    greedy = reranking_options(mmr=mmr, caps=caps)
    assume(narrowest_lead(order, lists_of(rerank(given, 12, greedy))[0], mmr, caps[0]) > 0.01)
    assert lists_of(rerank(given, 12, cold)) == lists_of(rerank(given, 12, greedy))
    if mmr == 0 and caps[0] == NO_CAP:
        assert lists_of(rerank(given, 12, greedy)) == lists_of(STAGE(given, np.array([12], dtype=np.int32)))
