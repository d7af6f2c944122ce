"""Vocabularies: append-only maps from raw strings to encoded ids, 0 for unknown strings."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, cast

import numpy as np

from contracts.ids import OOV, AnyArray, IntArray
from contracts.indexed_tokens import IndexedTokens
from contracts.strings import StringColumn, map_array

SMALL: Final = 50_000
"""Most tokens of a vocabulary that is a dictionary: 30 times as fast as the mapped index, and 7 MB at this size.

Above it, the index takes two microseconds for a look-up; a dictionary of ten million tokens would take 1.4 GB in each
replica. The number is part of the format: with a lower one, saved vocabularies would lack index files.
"""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Tokens in the order of their encoded ids, which start at 1.

    Args:
        tokens: distinct strings; token n has the encoded id n + 1. Kept in a tuple up to `SMALL`, else in arrays.

    Raises:
        ValueError: a token occurs twice, or does not fit into a string column: it is a single zero character or holds
            half of a surrogate pair.
    """

    tokens: Sequence[str]

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, IndexedTokens):
            large = len(self._column) > SMALL
            object.__setattr__(self, "tokens", IndexedTokens.build(self._column) if large else tuple(self.tokens))
        if len(self._ids) != len(self.tokens):
            (twice, _), *_ = Counter(self.tokens).most_common(1)
            raise ValueError(f"vocabulary token {twice!r} occurs twice; tokens must be distinct")
        if self.encode_one("\x00") or self.encode_one(None):
            raise ValueError(r"a vocabulary token is '\x00' or None, expected text; '\x00' stands for None in columns")

    @classmethod
    def fit(cls, values: Iterable[str | None]) -> Vocabulary:
        """A vocabulary of the distinct values, sorted, without None."""
        return cls(sorted({value for value in values if value is not None}))

    @classmethod
    def open(cls, stem: Path) -> Vocabulary:
        """Maps a saved vocabulary; small ones are read.

        Does not check that the bytes are UTF-8 or that a large index finds every token: the digest and the checksums of
        the files cover that.

        Raises:
            ValueError: a file is missing or incomplete, or the files do not fit each other.
        """
        try:
            column = StringColumn.open(stem)
            if fault := column.fault():
                raise ValueError(fault)
            if len(column) <= SMALL:
                return cls(cast(Sequence[str], tuple(column)))  # None is refused by the constructor
            tokens = IndexedTokens(column, map_array(_index_file(stem)))
            if fault := tokens.fault():
                raise ValueError(fault)
            return cls(tokens)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(f"vocabulary {str(stem)!r} cannot be used: {error}") from error

    def save(self, stem: Path) -> None:
        """Writes `<stem>.offsets.npy`, `<stem>.data.npy` and, unless it is small, `<stem>.index.npy`.

        Do not overwrite files that a process has mapped. Equal vocabularies have equal files.
        """
        self._column.save(stem)
        if isinstance(self.tokens, IndexedTokens):
            np.save(_index_file(stem), self.tokens.slots)

    @property
    def is_small(self) -> bool:
        """Whether it is cheap to iterate over all tokens."""
        return not isinstance(self.tokens, IndexedTokens)

    @property
    def cardinality(self) -> int:
        """Rows of its embedding table: all tokens and the OOV row."""
        return len(self.tokens) + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the string column of the tokens: offsets and bytes."""
        digest = hashlib.sha256(self._column.offsets.data)
        digest.update(self._column.data.data)
        return digest.hexdigest()

    def encode(self, values: Sequence[str | None] | AnyArray) -> IntArray:
        """Encodes values, [n] int32; None and unknown strings become 0."""
        ids = self._ids
        return np.fromiter((ids.get(value, OOV) for value in values), dtype=np.int32, count=len(values))

    def encode_one(self, value: str | None) -> int:
        """Encodes one value; None and unknown strings become 0."""
        return self._ids.get(value, OOV)

    def grow(self, values: Iterable[str | None]) -> Vocabulary:
        """Appends new values in sorted order; existing ids do not change."""
        new = sorted(value for value in set(values) if value is not None and not self.encode_one(value))
        if not new:
            return self
        if isinstance(self.tokens, IndexedTokens):
            return Vocabulary(IndexedTokens.build(self.tokens.column.extended(new)))
        return Vocabulary((*self.tokens, *new))

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def _ids(self) -> dict[str | None, int] | IndexedTokens:
        if isinstance(self.tokens, IndexedTokens):
            return self.tokens
        return {token: number for number, token in enumerate(self.tokens, start=1)}

    @cached_property
    def _column(self) -> StringColumn:
        return self.tokens.column if isinstance(self.tokens, IndexedTokens) else StringColumn.pack(self.tokens)


def _index_file(stem: Path) -> Path:
    return stem.with_name(stem.name + ".index.npy")
