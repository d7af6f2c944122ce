"""Vocabularies: raw strings to encoded ids, append-only, 0 for whatever is not known."""

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
"""Tokens up to which a vocabulary is a dictionary, which answers 30 times as fast as the mapped index and takes 7 MB.

Beyond, two microseconds a lookup are nothing beside 1.4 GB in each replica, the dictionary of ten million tokens. The
number is part of the format: a lower one would ask for index files that saved vocabularies do not have.
"""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Tokens in the order of their encoded ids, which start at 1.

    Args:
        tokens: distinct strings; token number n has the encoded id n + 1. They are kept as a tuple up to `SMALL`, and
            in arrays beyond.

    Raises:
        ValueError: a token occurs twice, or cannot be kept in a column of strings: a single zero character, or half of
            a surrogate pair in it.
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
        """The sorted distinct values, None left out."""
        return cls(sorted({value for value in values if value is not None}))

    @classmethod
    def open(cls, stem: Path) -> Vocabulary:
        """Maps a saved vocabulary; a small one is read.

        Whether the bytes are UTF-8 and whether a large one's index finds every token is not looked at: a digest and
        checksums of the files tell that.

        Raises:
            ValueError: a file is missing or cut off, or they do not belong together.
        """
        try:
            column = StringColumn.open(stem)
            if fault := column.fault():
                raise ValueError(fault)
            if len(column) <= SMALL:
                return cls(cast(Sequence[str], tuple(column)))  # one that is None is refused
            tokens = IndexedTokens(column, map_array(_index_file(stem)))
            if fault := tokens.fault():
                raise ValueError(fault)
            return cls(tokens)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(f"vocabulary {str(stem)!r} cannot be used: {error}") from error

    def save(self, stem: Path) -> None:
        """Writes `<stem>.offsets.npy`, `<stem>.data.npy` and, if it is not small, `<stem>.index.npy`.

        The files must not be those that some process has mapped. Equal vocabularies have equal files.
        """
        self._column.save(stem)
        if isinstance(self.tokens, IndexedTokens):
            np.save(_index_file(stem), self.tokens.slots)

    @property
    def is_small(self) -> bool:
        """Whether going through all tokens takes no time that matters."""
        return not isinstance(self.tokens, IndexedTokens)

    @property
    def cardinality(self) -> int:
        """Rows of an embedding table for this vocabulary: the tokens and the OOV row."""
        return len(self.tokens) + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tokens in order, as a column has them: of the offsets and the bytes."""
        digest = hashlib.sha256(self._column.offsets.data)
        digest.update(self._column.data.data)
        return digest.hexdigest()

    def encode(self, values: Sequence[str | None] | AnyArray) -> IntArray:
        """Encoded ids of the values, [n] int32; None and unknown strings become 0."""
        ids = self._ids
        return np.fromiter((ids.get(value, OOV) for value in values), dtype=np.int32, count=len(values))

    def encode_one(self, value: str | None) -> int:
        """Encoded id of one value; None and unknown strings become 0."""
        return self._ids.get(value, OOV)

    def grow(self, values: Iterable[str | None]) -> Vocabulary:
        """This vocabulary with the new values appended in sorted order; known ids stay as they are."""
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
