"""One rule of legal ids, told by a function and by a pattern."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender_api.values import ID_PATTERN, MAX_ID_CHARS, id_fault


@pytest.mark.parametrize(
    "text", ["a", "...", "a/seen", " ", "ä%2F", "\U0001f600", "x" * 256, "a b", "\u2028", "\ufffd"]
)
def test_most_texts_are_legal(text: str) -> None:
    assert id_fault(text) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it is empty"),
        ("x" * 257, "it has 257 characters, at most 256 are taken"),
        ("a\nb", "it has the control character U+000A"),
        ("a\n", "it has the control character U+000A"),
        ("\x00", "it has the control character U+0000"),
        ("\x7f", "it has the control character U+007F"),
        ("a\x85", "it has the control character U+0085"),
        (".", "programs take it for a folder in a path"),
        ("..", "programs take it for a folder in a path"),
        ("a\ud800", "it has half of a surrogate pair, which is not Unicode"),
    ],
)
def test_some_are_not_and_the_reason_is_told(text: str, fault: str) -> None:
    assert id_fault(text) == fault


@given(st.text() | st.text(".\n\x7f\x80\x9f\xa0 a", max_size=4) | st.integers(250, 260).map("x".__mul__))
@settings(deadline=None)
def test_pattern_and_function_agree(text: str) -> None:
    fits = 1 <= len(text) <= MAX_ID_CHARS and re.search(ID_PATTERN, text) is not None
    assert fits == (id_fault(text) is None)
