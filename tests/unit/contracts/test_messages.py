from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.features import History
from contracts.messages import Candidates, FilterResult, QueryFeatures, RequestBatch
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
        "device_types": (None, "mobile", None),
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
        ({"k": np.full(3, 10, dtype=np.int64)}, r"k is int64\[3\], expected int32\[3\]"),
        ({"given": Ragged.of([[1]])}, "given has 1 entries, expected 3, one a request"),
        ({"context_time": np.zeros(2, dtype=np.int64)}, r"context_time is int64\[2\], expected int64\[3\]"),
    ],
)
def test_a_batch_checks_its_shapes(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batch(**changes)


def test_features_check_their_shapes() -> None:
    history = History(np.zeros((1, 0), np.int32), np.zeros((1, 0), np.float32), np.zeros((1, 0), bool))
    now, categorical, continuous = np.zeros(2, np.int64), np.zeros((2, 6), np.int32), np.zeros((2, 5), np.float32)
    with pytest.raises(ValueError, match="history is of 1 queries, expected 2"):
        QueryFeatures("v", now, categorical, continuous, history)
    with pytest.raises(ValueError, match=r"continuous is float32\[2, 4\], expected float32\[2, 5\]"):
        QueryFeatures("v", now, categorical, continuous[:, :4], history)


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
    assert nobody.constraints is nobody.given is nobody.rerank is None
