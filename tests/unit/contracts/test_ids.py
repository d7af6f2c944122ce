"""Subjects: who is meant, once for single ids and once for columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from contracts.ids import subject_of, user_of_subject
from contracts.interactions import Interaction
from tests.fixtures.served_bundle import request_batch
from training.subjects import are_users, name_subjects, subjects_of

IDS = st.none() | st.sampled_from(["", "77", "u:77", "s:77", "ü"])


def test_a_user_and_a_session_of_one_name_are_two_subjects() -> None:
    assert subject_of("77", "8") == subject_of("77", None) == "u:77"
    assert subject_of(None, "77") == subject_of("", "77") == "s:77"
    assert subject_of(None, None) is subject_of("", "") is None
    assert [user_of_subject(one) for one in ("u:77", "s:77")] == ["77", None]


@given(st.lists(st.tuples(IDS, IDS)))
def test_everybody_means_the_same_subject(pairs: list[tuple[str | None, str | None]]) -> None:
    expected = [subject_of(*pair) for pair in pairs]
    users, sessions = ([pair[place] for pair in pairs] for place in (0, 1))
    table = pa.table({"user_id": pa.array(users, pa.string()), "session_id": pa.array(sessions, pa.string())})
    found = subjects_of(table)
    assert found.to_pylist() == expected
    assert are_users(found).tolist() == [bool(user) for user in users]
    batch = request_batch(len(pairs), user_ids=tuple(users), session_ids=tuple(sessions))
    assert batch.subjects == tuple(expected)
    for (user, session), subject in zip(pairs, expected, strict=True):
        told = Interaction(
            event_id="e", item_id="i", event="view", timestamp=1, accepted_at=1, user_id=user, session_id=session
        )
        assert told.subject == (subject or "")


def test_names_of_subjects_from_their_raw_ids() -> None:
    assert name_subjects(pa.array(["77", "77"]), np.array([True, False])).to_pylist() == ["u:77", "s:77"]
