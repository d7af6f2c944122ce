from __future__ import annotations

import hashlib

import numpy as np
import pytest

from contracts.vocabulary import Vocabulary


def test_ids_start_at_one_and_the_unknown_is_zero() -> None:
    vocabulary = Vocabulary.fit(["b", "a", None, "b"])
    assert vocabulary.tokens == ("a", "b")
    assert vocabulary.cardinality == 3
    assert len(vocabulary) == 2
    assert vocabulary.encode(["b", None, "x", "a"]).tolist() == [2, 0, 0, 1]
    assert vocabulary.encode(np.array(["a", "b"], dtype=object)).dtype == np.int32
    assert vocabulary.encode_one("b") == 2
    assert vocabulary.encode_one(None) == 0


def test_growing_keeps_known_ids() -> None:
    grown = Vocabulary(("b",)).grow(["c", "a", "b", None])
    assert grown.tokens == ("b", "a", "c")
    assert grown.encode(["b"]).tolist() == [1]


def test_the_digest_depends_on_tokens_and_order() -> None:
    assert Vocabulary(("a", "b")).digest == Vocabulary(("a", "b")).digest
    assert Vocabulary(("a", "b")).digest != Vocabulary(("b", "a")).digest
    assert Vocabulary(("ab",)).digest != Vocabulary(("a", "b")).digest


def test_a_repeated_token_is_refused() -> None:
    with pytest.raises(ValueError, match="token 'a' occurs twice"):
        Vocabulary(("a", "b", "a"))


@pytest.mark.parametrize("small", [0, 50], ids=["large", "small"])
def test_what_a_column_cannot_hold_is_refused(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contracts.vocabulary.SMALL", small)
    with pytest.raises(ValueError, match="token 'a' occurs twice"):
        Vocabulary(("a", "b", "a"))
    for token in ("\x00", None):
        with pytest.raises(ValueError, match=r"token is '\\x00' or None, expected text"):
            Vocabulary(("a", token))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'a\\ud800' holds half of a surrogate pair"):
        Vocabulary(("b", "a\ud800"))
    assert Vocabulary(("a", "\x00\x00", "")).encode(["", "\x00\x00", "\x00", "\ud800"]).tolist() == [3, 2, 0, 0]


def test_the_digest_is_of_offsets_and_bytes() -> None:
    # "a" is the byte 61, "ä" is c3 a4: they start at 0 and 1, and the last ends at 3.
    expected = hashlib.sha256(np.array([0, 1, 3], dtype="<i8").tobytes() + b"\x61\xc3\xa4").hexdigest()
    assert Vocabulary(("a", "ä")).digest == expected


def test_equal_tokens_make_equal_vocabularies() -> None:
    assert Vocabulary(("a", "b")) == Vocabulary(["a", "b"])
    assert Vocabulary(("a", "b")) != Vocabulary(("b", "a"))
    assert Vocabulary(("a",)) != ("a",)
    assert len({Vocabulary(("a",)), Vocabulary(("a",)), Vocabulary(())}) == 2
