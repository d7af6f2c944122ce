"""Fills recent items, 24-hour categories and seen rings from tables; keeps newer online values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from itertools import islice
from typing import Final

import redis
from tqdm import tqdm

from contracts.errors import DataError
from contracts.ids import user_of_subject
from contracts.user_records import RecentItems
from serving.stores import recent
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys
from serving.stores.merge import Change, Merge, TablesEnd, rewrite

CHUNK: Final = 500


class StateFiller:
    """Fills keys of subjects: `fill` from the tables, then `clear` keys that no table has.

    Attributes:
        live: 24-hour categories of subjects with interactions that the tables may lack.
        erased: users that are left out.

    Args:
        client: of the store.
        config: the store's settings.
        tables_end: the tables hold all interactions before it.
        erased: users that are left out.
        accepted: subjects with accepted events, which the tables may lack.
    """

    def __init__(
        self, client: redis.Redis, config: StoreConfig, tables_end: TablesEnd, erased: Set[str], accepted: Set[str]
    ) -> None:
        self.live: dict[str, RecentItems] = {}
        self._client = client
        self._config = config
        self._tables_end = tables_end
        self.erased = erased
        self._accepted = accepted
        keys, merge = Keys(config.shop), Merge(config, tables_end)
        self._recent, self._day = keys.recent(""), keys.day("")
        self._merges = {self._recent: merge.recent, self._day: merge.day, keys.seen(""): merge.seen}
        self._written: set[bytes] = set()
        self._single: set[str] = set()
        self._counts: Counter[str] = Counter()

    @property
    def num_recent(self) -> int:
        """Subjects with recent items."""
        return self._counts[Keys(self._config.shop).recent("")]

    @property
    def num_seen(self) -> int:
        """Subjects with a seen ring."""
        return self._counts[Keys(self._config.shop).seen("")]

    def fill(self, values: Iterable[tuple[str, bytes]], what: str) -> None:
        """Sets keys to the tables' values, merged with newer online ones.

        Raises:
            DataError: a key comes twice.
            StoreError: others keep changing the same keys.
        """
        self._set(self._changes(values), what)

    def clear(self) -> None:
        """Removes from keys that no table has everything that is not newer than the tables."""
        for prefix, merge in self._merges.items():
            found = self._client.scan_iter(prefix + "*", CHUNK)
            self._set((Change(key, None, merge) for key in found if key not in self._written), "stale keys")

    def lifetime_s(self, subject: str) -> int:
        """Seconds until the filled keys of a subject expire."""
        return self._config.lifetime_s(subject, first=subject in self._single)

    def _changes(self, values: Iterable[tuple[str, bytes]]) -> Iterator[Change]:
        for name, value in values:
            prefix, subject = self._split(name)
            if user_of_subject(subject) in self.erased:
                continue
            key = name.encode()
            if key in self._written:
                raise DataError(f"{name} comes twice; a table must hold all rows of its subjects")
            self._written.add(key)
            if prefix == self._recent and len(recent.decode(value).timestamps) < 2 <= self._config.history_length:
                self._single.add(subject)
            first = subject in self._single
            yield Change(key, value, self._merges[prefix], self.lifetime_s(subject), prolongs=not first)

    def _set(self, changes: Iterator[Change], what: str) -> None:
        with tqdm(desc=what, unit=" keys", disable=None) as progress:
            while chunk := list(islice(changes, CHUNK)):
                for change, value in zip(chunk, rewrite(self._client, chunk), strict=True):
                    self._note(change.key.decode(), value)
                progress.update(len(chunk))

    def _note(self, name: str, value: bytes | None) -> None:
        if value is None:
            return
        prefix, subject = self._split(name)
        self._counts[prefix] += 1
        if prefix == self._day:
            day = recent.decode(value)
            if day.timestamps[0] >= self._tables_end.end or subject in self._accepted:
                self.live[subject] = day

    def _split(self, name: str) -> tuple[str, str]:
        """Prefix and subject of a key."""
        prefix = next(prefix for prefix in self._merges if name.startswith(prefix))
        return prefix, name.removeprefix(prefix)
