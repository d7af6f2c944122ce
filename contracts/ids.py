"""The three types of ids. They are never mixed and never clipped.

- `RawId`: the shop's own string; stores and clients see no other id.
- `ItemRow`: position in the bundle's catalogue, used by index, columns and stages; -1 pads.
- `EncodedId`: row of an embedding table; 0 is out of vocabulary (OOV).

A subject owns a history: a user, or the session of a visitor without a user id. A user and a session may have the same
raw id, so the name of a subject has a prefix.
"""

from __future__ import annotations

from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

RawId = NewType("RawId", str)
ItemRow = NewType("ItemRow", int)
EncodedId = NewType("EncodedId", int)

OOV = EncodedId(0)
PAD_ROW = ItemRow(-1)

_USER, _SESSION = "u:", "s:"

IntArray = NDArray[np.int32]
LongArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
AnyArray = NDArray[Any]
Words = NDArray[np.uint64]


def user_subject(user_id: str) -> str:
    """The subject of a user."""
    return _USER + user_id


def session_subject(session_id: str) -> str:
    """The subject of a session without a user."""
    return _SESSION + session_id


def subject_of(user_id: str | None, session_id: str | None) -> str | None:
    """The subject of a user id and a session id: the user, else the session, else None; "" is not an id."""
    if user_id:
        return user_subject(user_id)
    return session_subject(session_id) if session_id else None


def user_of_subject(subject: str) -> str | None:
    """User id of a subject; None for a session."""
    return subject.removeprefix(_USER) if subject.startswith(_USER) else None


def check_array(name: str, array: AnyArray, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Checks shape and type of an array.

    Raises:
        ValueError: names the array, what was got and what was expected.
    """
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} is {array.dtype}{list(array.shape)}, expected {np.dtype(dtype)}{list(shape)}")


def check_rows(rows: IntArray, num_items: int, *, allow_pad: bool = False) -> None:
    """Checks that item rows are in the catalogue.

    Args:
        rows: ItemRow values of any shape.
        num_items: size of the catalogue.
        allow_pad: whether -1 is a legal value.

    Raises:
        ValueError: a row is out of range.
    """
    if rows.size == 0:
        return
    low = -1 if allow_pad else 0
    smallest, largest = int(rows.min()), int(rows.max())
    if smallest < low or largest >= num_items:
        raise ValueError(f"item rows span [{smallest}, {largest}], expected within [{low}, {num_items - 1}]")
