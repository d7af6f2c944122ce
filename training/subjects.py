"""`contracts.ids.subject_of` for whole columns."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts.ids import BoolArray, session_subject, user_subject


def subjects_of(table: pa.Table) -> pa.ChunkedArray:
    """Subject of each row [R]; null if it has none.

    Args:
        table: user_id and session_id, strings.
    """
    return pc.coalesce(_named(table[c.USER_ID], user_subject("")), _named(table[c.SESSION_ID], session_subject("")))


def name_subjects(ids: pa.ChunkedArray, is_user: BoolArray) -> pa.ChunkedArray:
    """Names of subjects [S] from raw ids of users and, where not `is_user` [S], of sessions."""
    return pc.if_else(pa.array(is_user), _named(ids, user_subject("")), _named(ids, session_subject("")))


def are_users(subjects: pa.ChunkedArray) -> BoolArray:
    """Whether each subject is a user [S]; False if there is none."""
    users: BoolArray = pc.fill_null(pc.starts_with(subjects, user_subject("")), False).to_numpy()
    return users


def _named(ids: pa.ChunkedArray, prefix: str) -> pa.ChunkedArray:
    given = pc.if_else(pc.equal(ids, ""), pa.scalar(None, pa.string()), ids)
    return pc.binary_join_element_wise(prefix, given, "")
