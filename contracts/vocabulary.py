"""Vocabularies: raw strings to encoded ids, append-only, 0 for whatever is not known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from contracts.ids import OOV, AnyArray, IntArray


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their encoded ids, which start at 1.

    Args:
        tokens: distinct strings; token number n has the encoded id n + 1.

    Raises:
        ValueError: a token occurs twice.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.tokens)) != len(self.tokens):
            seen: set[str] = set()
            twice = next(token for token in self.tokens if token in seen or seen.add(token))  # type: ignore[func-returns-value]
            raise ValueError(f"vocabulary token {twice!r} occurs twice; tokens must be distinct")

    @classmethod
    def fit(cls, values: Iterable[str | None]) -> Vocabulary:
        """The sorted distinct values, None left out."""
        return cls(tuple(sorted({value for value in values if value is not None})))

    @property
    def cardinality(self) -> int:
        """Rows of an embedding table for this vocabulary: the tokens and the OOV row."""
        return len(self.tokens) + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tokens in order."""
        return hashlib.sha256("\x00".join(self.tokens).encode()).hexdigest()

    def encode(self, values: Sequence[str | None] | AnyArray) -> IntArray:
        """Encoded ids of the values, [n] int32; None and unknown strings become 0."""
        index = self._index
        return np.fromiter((index.get(value, OOV) for value in values), dtype=np.int32, count=len(values))

    def encode_one(self, value: str | None) -> int:
        """Encoded id of one value; None and unknown strings become 0."""
        return self._index.get(value, OOV)

    def grow(self, values: Iterable[str | None]) -> Vocabulary:
        """This vocabulary with the new values appended in sorted order; known ids stay as they are."""
        new = sorted({value for value in values if value is not None} - set(self.tokens))
        return Vocabulary(self.tokens + tuple(new))

    @cached_property
    def _index(self) -> dict[str | None, int]:
        return {token: number for number, token in enumerate(self.tokens, start=1)}
