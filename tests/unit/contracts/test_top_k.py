"""The one order of candidates."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.top_k import from_keys, sort_keys, top_k

finite = st.floats(width=32, allow_nan=False)


@given(st.lists(finite, min_size=1, max_size=40), st.integers(1, 45))
def test_best_first_and_ties_by_row(values: list[float], k: int) -> None:
    scores = np.array([values], dtype=np.float32)
    rows, found = top_k(scores, np.arange(len(values), dtype=np.int32), k)
    expected = sorted(range(len(values)), key=lambda row: (-scores[0, row], row))[:k]
    assert rows[0].tolist() == expected
    np.testing.assert_array_equal(found[0], scores[0, expected])


@given(st.lists(finite, min_size=1), st.integers(0, 2**31 - 1))
def test_keys_give_back_row_and_score(values: list[float], row: int) -> None:
    scores = np.array(values, dtype=np.float32)
    rows, found = from_keys(sort_keys(scores, np.full(len(values), row, dtype=np.int32)))
    assert (rows == row).all()
    np.testing.assert_array_equal(found, scores)


def test_rows_may_differ_by_query() -> None:
    scores = np.array([[1, 2, 2], [0, -1, -1]], dtype=np.float32)
    rows, found = top_k(scores, np.array([[7, 9, 8], [1, 6, 5]], dtype=np.int32), 2)
    assert rows.tolist() == [[8, 9], [1, 5]]
    assert found.tolist() == [[2, 2], [0, -1]]


def test_minus_infinity_comes_last() -> None:
    scores = np.array([[-np.inf, -1e30, np.inf]], dtype=np.float32)
    assert top_k(scores, np.arange(3, dtype=np.int32), 3)[0].tolist() == [[2, 1, 0]]
