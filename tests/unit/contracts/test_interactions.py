from __future__ import annotations

import re

import pytest

from contracts.errors import DataError
from contracts.interactions import Erasure, Interaction, decode, decode_erasure, encode, encode_erasure

FULL = Interaction(
    event_id="e1",
    item_id="i1",
    event="click",
    timestamp=99,
    accepted_at=100,
    user_id="ü",
    session_id="s1",
    device_type="mobile",
    request_id="r1",
)
LEAST = Interaction(event_id="e2", item_id="i2", event="view", timestamp=5, accepted_at=5, session_id="s1")


@pytest.mark.parametrize("interaction", [FULL, LEAST])
def test_what_is_encoded_is_decoded(interaction: Interaction) -> None:
    assert decode(encode(interaction)) == interaction


def test_fields_that_nobody_told_take_no_room() -> None:
    text = b'{"event_id":"e2","item_id":"i2","event":"view","timestamp":5,"accepted_at":5,"session_id":"s1"}'
    assert encode(LEAST) == text


def test_the_subject_is_the_user_or_else_the_session() -> None:
    assert (FULL.subject, LEAST.subject) == ("u:ü", "s:s1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"view", "a stream entry is not an interaction: JSON is malformed"),
        (b'{"event_id":"e"}', "a stream entry is not an interaction: Object missing required field `item_id`"),
        (encode(LEAST).replace(b'"s1"', b"1"), "Expected `str | null`, got `int` - at `$.session_id`"),
        (encode(LEAST).replace(b"s1", b""), "interaction 'e2' has neither user_id nor session_id, expected one"),
        (b'{"event_id":"\xff"}', "a stream entry is not an interaction"),
    ],
)
def test_other_entries_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        decode(content)


def test_an_erasure_is_told_in_the_same_stream() -> None:
    erasure = Erasure(user_id="ü", erased_at=100)
    assert decode_erasure(encode_erasure(erasure)) == erasure
    with pytest.raises(DataError, match="a stream entry is not an erasure: Object missing required field `user_id`"):
        decode_erasure(encode(LEAST))
