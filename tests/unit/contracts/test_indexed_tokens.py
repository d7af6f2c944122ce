from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.indexed_tokens import IndexedTokens
from contracts.strings import StringColumn

TEXTS = st.text(max_size=4)
"""Short, so that unknown strings share beginnings and lengths with known ones."""


def build(*tokens: str) -> IndexedTokens:
    return IndexedTokens.build(StringColumn.pack(tokens))


@pytest.fixture
def by_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first byte of a string is the highest of its hash; the others are 0."""
    monkeypatch.setattr("contracts.indexed_tokens._hash", lambda text: bytes(7) + text[:1])


@pytest.mark.usefixtures("by_first_byte")
def test_an_entry_lies_at_its_home_or_after_the_one_before() -> None:
    # Three tokens have 6 homes. "A" is 65: 65 · 6 / 256 = 1.5; "a" is 97: 2.3; "z" is 122: 2.9.
    tokens = build("z1", "a1", "A1")
    assert tokens.slots.tolist() == [0, 3, 2, 1, 0, 0, 0]
    assert [tokens.get(value) for value in ("z1", "a1", "A1", "z2", "a", "Z1", None)] == [1, 2, 3, 0, 0, 0, 0]
    assert tokens.get("z2", default=-1) == -1


@pytest.mark.usefixtures("by_first_byte")
def test_what_does_not_fit_into_the_last_home_lies_behind_it() -> None:
    # The first bytes are e6, e8 and ea: 230 · 6 / 256 = 5.4, 5.4 and 5.5.
    tokens = build("漢", "語", "가")
    assert tokens.slots.tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 0]
    assert [tokens.get(value) for value in ("漢", "語", "가", "긱")] == [1, 2, 3, 0]
    assert tokens.fault() is None


def test_hashes_are_written_down_so_that_files_of_different_releases_agree() -> None:
    # Read little-endian, blake2b-64 of them begins with 74a8b5ad, 4b9d4486 and 6a4c753e, which are 0.456, 0.295 and
    # 0.415 of 2^32. Six times that is 2.73, 1.77 and 2.49: two share a home, and "item-3" lies before "item-1".
    assert build("item-1", "item-2", "item-3").slots.tolist() == [0, 2, 3, 1, 0, 0, 0]


@given(st.lists(TEXTS.filter(lambda text: text != "\x00"), unique=True), st.lists(TEXTS), st.booleans())
def test_every_token_is_found_and_nothing_else_however_hashes_collide(
    tokens: list[str], others: list[str], collide: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if collide:
            patch.setattr("contracts.indexed_tokens._hash", lambda text: bytes(8))
        indexed = build(*tokens)
        numbers = {token: number for number, token in enumerate(tokens, start=1)}
        assert [indexed.get(value) for value in (*tokens, *others)] == [numbers.get(v, 0) for v in (*tokens, *others)]
        assert [value in indexed for value in others] == [value in numbers for value in others]
        assert indexed.fault() is None


@pytest.mark.parametrize("collide", [False, True])
def test_a_repeated_token_is_refused_by_name(collide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if collide:
        monkeypatch.setattr("contracts.indexed_tokens._hash", lambda text: bytes(8))
    with pytest.raises(ValueError, match="token 'b' occurs twice; tokens must be distinct"):
        build("a", "b", "c", "b")


def test_it_is_a_sequence() -> None:
    tokens = build("b", "a", "ä")
    assert (len(tokens), tokens[0], tokens[-1], tokens[1:]) == (3, "b", "ä", ("a", "ä"))
    assert list(tokens) == ["b", "a", "ä"]
    assert "a" in tokens
    assert 1 not in tokens
    with pytest.raises(IndexError, match="out of range"):
        tokens[3]
    assert list(build()) == []


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        (np.zeros(7, dtype=np.int64), "the index is int64 with 1 dimensions, expected int32 with 1"),
        (np.zeros((7, 1), dtype=np.int32), "the index is int32 with 2 dimensions"),
        ([0, 3, 2, 1, 0, 0], "the index has 6 slots, expected more than 6 of which the last is empty"),
        ([0, 3, 2, 0, 0, 0, 1], "the index has 7 slots, expected more than 6 of which the last is empty"),
        ([0, 3, 2, 0, 0, 0, 0], "the index has 2 entries in [0, 3], expected each of 1 to 3"),
        ([0, 4, 2, 1, 0, 0, 0], "the index has 3 entries in [0, 4], expected each of 1 to 3"),
        ([0, -3, 2, 1, 0, 0, 0], "the index has 3 entries in [-3, 2], expected each of 1 to 3"),
        ([1, 2, 3, 0, 0, 0, 0], "the index finds 'z1' in place 0, expected 1: it is of other tokens"),
    ],
)
@pytest.mark.usefixtures("by_first_byte")
def test_an_index_that_does_not_belong_to_the_column_is_a_fault(slots: Any, message: str) -> None:
    array = slots if isinstance(slots, np.ndarray) else np.array(slots, dtype=np.int32)
    assert (IndexedTokens(build("z1", "a1", "A1").column, array).fault() or "").startswith(message)


def test_a_fault_of_the_column_comes_first() -> None:
    tokens = build("a", "b")
    broken = StringColumn(tokens.column.offsets[:-1], tokens.column.data)
    assert IndexedTokens(broken, tokens.slots).fault() == "the offsets do not span the 2 bytes of the data"
