"""Fills the seen items from tables in the chosen backend, and removes those of the other backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Final, Protocol

import pyarrow as pa
import redis

from contracts.errors import DataError
from contracts.ids import Words, user_of_subject
from serving.stores.broken import readable
from serving.stores.config import StoreConfig
from serving.stores.fill_state import CHUNK, StateFiller
from serving.stores.keys import Keys
from serving.stores.merge import TablesEnd
from serving.stores.seen_backend import SeenBackend
from serving.stores.seen_module import FILTER_TYPE, FilterCommands, filed_days
from serving.stores.table_values import seen_days, seen_rings

_SCANNED: Final = 500


class SeenFiller(Protocol):
    """Fills the seen items: `fill` from the tables, then `clear` subjects that no table has."""

    @property
    def num_seen(self) -> int:
        """Subjects that have seen something."""
        ...

    def fill(self, tables: Iterable[pa.Table]) -> None:
        """Replaces the days up to the end of the tables.

        Raises:
            DataError: a subject's rows are spread over two tables.
            StoreError: others keep changing the same keys.
        """
        ...

    def clear(self) -> None:
        """Removes from subjects that no table has everything that is not newer than the tables."""
        ...


def seen_filler(
    client: redis.Redis, config: StoreConfig, address: str, state: StateFiller, end: TablesEnd
) -> SeenFiller:
    """The filler of the backend that the settings or the server choose.

    Raises:
        ConfigError: the settings want a backend that the server lacks.
    """
    if SeenBackend(config, address).ask_blocking(client) == "module":
        return _ModuleFiller(client, config, state, end)
    return _RingFiller(client, config, state)


class _RingFiller:
    """Rings are merged like recent items."""

    def __init__(self, client: redis.Redis, config: StoreConfig, state: StateFiller) -> None:
        self._client = client
        self._config = config
        self._state = state

    @property
    def num_seen(self) -> int:
        return self._state.num_seen

    def fill(self, tables: Iterable[pa.Table]) -> None:
        self._state.fill(chain.from_iterable(seen_rings(table, self._config) for table in tables), "seen items")

    def clear(self) -> None:
        keys = Keys(self._config.shop)
        _unlink(self._client, keys.seen_days("*"))
        _unlink(self._client, keys.seen_on("*", "*"))


class _ModuleFiller:
    def __init__(self, client: redis.Redis, config: StoreConfig, state: StateFiller, end: TablesEnd) -> None:
        self._client = client
        self._config = config
        self._state = state
        self._last_day = end.last_day
        self._keys = Keys(config.shop)
        self._commands = FilterCommands(config)
        self._written: set[str] = set()
        self._num_left = 0

    @property
    def num_seen(self) -> int:
        return self._num_left

    def fill(self, tables: Iterable[pa.Table]) -> None:
        first_day = self._last_day - self._config.seen_window_days + 1
        for table in tables:
            subjects = self._fresh(seen_days(table, first_day))
            while chunk := dict(islice(subjects, CHUNK)):
                self._replace(chunk)

    def clear(self) -> None:
        prefix = self._keys.seen_days("")
        found = (key.decode().removeprefix(prefix) for key in self._client.scan_iter(prefix + "*", _SCANNED))
        stale = (subject for subject in found if subject not in self._written)
        while chunk := dict.fromkeys(islice(stale, CHUNK)):
            self._replace({subject: {} for subject in chunk})
        _unlink(self._client, self._keys.seen("*"))

    def _fresh(self, subjects: Iterator[tuple[str, dict[int, Words]]]) -> Iterator[tuple[str, dict[int, Words]]]:
        for subject, days in subjects:
            if subject in self._written:
                raise DataError(f"subject {subject!r} comes twice; a table must hold all rows of its subjects")
            if user_of_subject(subject) not in self._state.erased:
                self._written.add(subject)
                yield subject, days

    def _replace(self, wanted: Mapping[str, Mapping[int, Words]]) -> None:
        """Replaces the days of subjects, but keeps later days that are online."""
        online = self._online(wanted)
        with self._client.pipeline(transaction=True) as pipe:
            for (subject, days), (filed, broken) in zip(wanted.items(), online, strict=True):
                before = [day for day in filed if day <= self._last_day]
                self._num_left += bool(days) or len(before) < len(filed)
                pipe.unlink("", *broken, *(self._keys.seen_on(subject, day) for day in before))
                if before:
                    pipe.zrem(self._keys.seen_days(subject), *before)
                lifetime_s = self._config.lifetime_s(subject) if filed else self._state.lifetime_s(subject)
                for command in self._commands.replaced(subject, days, lifetime_s) if days else []:
                    pipe.execute_command(*command)
            pipe.execute()

    def _online(self, wanted: Mapping[str, Mapping[int, Words]]) -> list[tuple[list[int], list[str]]]:
        """For each subject, its days with filters, and its keys that are damaged or of another type."""
        keys = self._keys
        with self._client.pipeline(transaction=False) as pipe:
            for subject, days in wanted.items():
                pipe.zrange(keys.seen_days(subject), 0, -1)
                for day in days:
                    pipe.type(keys.seen_on(subject, day))
            replies = iter(pipe.execute(raise_on_error=False))
        found = []
        for subject, days in wanted.items():
            filed = readable("seen", next(replies), filed_days)
            broken = [keys.seen_on(subject, day) for day in days if next(replies) not in (b"none", FILTER_TYPE)]
            found.append((filed or [], broken if filed is not None else [*broken, keys.seen_days(subject)]))
        return found


def _unlink(client: redis.Redis, pattern: str) -> None:
    found = client.scan_iter(pattern, _SCANNED)
    while chunk := list(islice(found, CHUNK)):
        client.unlink(*chunk)
