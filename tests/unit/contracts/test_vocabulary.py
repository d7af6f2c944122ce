from __future__ import annotations

import numpy as np
import pytest

from contracts.vocabulary import Vocabulary


def test_ids_start_at_one_and_the_unknown_is_zero() -> None:
    vocabulary = Vocabulary.fit(["b", "a", None, "b"])
    assert vocabulary.tokens == ("a", "b")
    assert vocabulary.cardinality == 3
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
