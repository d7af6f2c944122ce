from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.encoded import EncodedColumns
from contracts.features import History
from contracts.messages import Candidates, FilterResult, Pairs, QueryFeatures, RequestBatch
from contracts.options import Ragged


def candidates(lengths: list[int]) -> Candidates:
    total = sum(lengths)
    rows = np.arange(total, dtype=np.int32)
    return Candidates("v", rows, rows.astype(np.float32), np.array(lengths, dtype=np.int32))


def batch(**changes: object) -> RequestBatch:
    values: dict[str, object] = {
        "bundle_version": "v",
        "now": 5,
        "request_ids": ("r1", "r2", "r3"),
        "user_ids": ("u", None, None),
        "session_ids": ("s1", "s2", None),
        "recent_items": ((), ("i",), ()),
        "context": {"device_type": (None, "mobile", None), "outside_c": (20.5, None, -3.0)},
        "context_time": np.full(3, 5, dtype=np.int64),
        "k": np.full(3, 10, dtype=np.int32),
        "budget_ms": np.full(3, 100, dtype=np.float32),
    }
    return RequestBatch(**(values | changes))  # type: ignore[arg-type]


def test_the_subject_is_the_user_else_the_session() -> None:
    assert batch().subjects == ("u:u", "s:s2", None)
    assert len(batch()) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user_ids": ("u",)}, "user_ids has 1 entries, expected 3"),
        ({"context": {"outside_c": (1.0, 2.0)}}, "outside_c has 2 entries, expected 3, one a request"),
        ({"k": np.full(3, 10, dtype=np.int64)}, r"k is int64\[3\], expected int32\[3\]"),
        ({"provided": Ragged.of([[1]])}, "provided has 1 entries, expected 3, one a request"),
        ({"context_time": np.zeros(2, dtype=np.int64)}, r"context_time is int64\[2\], expected int64\[3\]"),
    ],
)
def test_a_batch_checks_its_shapes(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batch(**changes)


def columns(size: int) -> EncodedColumns:
    return EncodedColumns("d", np.zeros((size, 6), np.int32), np.zeros((size, 5), np.float32))


def histories(size: int) -> History:
    return History(np.zeros((size, 0), np.int32), np.zeros((size, 0), np.float32), np.zeros((size, 0), bool))


def test_features_check_their_shapes() -> None:
    now = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="columns are of 2 queries and history of 1, expected 2"):
        QueryFeatures("v", now, columns(2), histories(1))
    with pytest.raises(ValueError, match="columns are of 3 queries and history of 2, expected 2"):
        QueryFeatures("v", now, columns(3), histories(2))
    with pytest.raises(ValueError, match=r"now is int32\[2\], expected int64\[2\]"):
        QueryFeatures("v", now.astype(np.int32), columns(2), histories(2))


def test_some_of_the_queries() -> None:
    now = np.array([5, 6, 7])
    numbered = EncodedColumns("d", np.arange(3, dtype=np.int32)[:, None], np.zeros((3, 0), np.float32))
    some = QueryFeatures("v", now, numbered, histories(3)).take(np.array([2, 0, 2]))
    assert (some.now.tolist(), some.columns.codes.tolist(), len(some.history.rows)) == ([7, 5, 7], [[2], [0], [2]], 3)


def pairs(**changes: object) -> Pairs:
    values: dict[str, object] = {
        "owners": np.array([0, 0, 1]),
        "rows": np.array([4, 5, 4], dtype=np.int32),
        "retrieval_scores": np.zeros(3, np.float32),
        "age_bucket": np.zeros(3, np.int32),
    }
    return Pairs(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": np.zeros(2, np.int32)}, r"rows is int32\[2\], expected int32\[3\]"),
        ({"age_bucket": np.zeros(3)}, r"age_bucket is float64\[3\], expected int32\[3\]"),
        ({"popularity": np.zeros(2, np.float32)}, r"popularity is of 2 candidates, expected 3"),
        ({"columns": columns(2)}, "columns is of 2 candidates, expected 3"),
    ],
)
def test_pairs_check_their_shapes(changes: dict[str, object], message: str) -> None:
    assert len(pairs(popularity=np.zeros(3, np.float32), columns=columns(3))) == 3
    with pytest.raises(ValueError, match=message):
        pairs(**changes)


def test_ragged_offsets_and_owners() -> None:
    ragged = candidates([2, 0, 3])
    assert ragged.offsets.tolist() == [0, 2, 2, 5]
    assert ragged.owners.tolist() == [0, 0, 2, 2, 2]
    with pytest.raises(ValueError, match=r"rows is int32\[2\], expected int32\[3\]"):
        Candidates("v", np.zeros(2, np.int32), np.zeros(3, np.float32), np.array([3], np.int32))


@given(data=st.data(), lengths=st.lists(st.integers(0, 5), max_size=6))
def test_a_split_conserves_every_candidate(data: st.DataObject, lengths: list[int]) -> None:
    ragged = candidates(lengths)
    total = len(ragged.rows)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=total, max_size=total)), dtype=bool)
    result = FilterResult(ragged, keep, "seen")
    for request in range(len(lengths)):
        parts = [part.rows[part.owners == request].tolist() for part in (result.kept, result.removed)]
        assert sorted(parts[0] + parts[1]) == ragged.rows[ragged.owners == request].tolist()
    assert np.array_equal(result.kept.rows, ragged.rows[keep])


def test_anonymous_requests_have_nobody_no_limits_and_all_the_time() -> None:
    nobody = RequestBatch.anonymous("v", 5, np.array([3, 10], dtype=np.int32))
    assert nobody.subjects == (None, None)
    assert (nobody.now, nobody.k.tolist(), nobody.budget_ms.tolist()) == (5, [3, 10], [np.inf, np.inf])
    assert nobody.filters is nobody.provided is nobody.reranking is None
