"""What both backends of seen items must do: every backend inherits the same cases."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import fakeredis
import pyarrow as pa
import pytest
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.bloom import item_hashes
from contracts.errors import DataError, StoreError
from contracts.ids import user_subject
from contracts.interactions import Interaction
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.fill_seen import seen_filler
from serving.stores.fill_state import StateFiller
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.merge import TablesEnd
from serving.stores.seen import SeenStore
from serving.stores.user_data import UserDataStore
from tests.fixtures.seen import are_seen, in_filters

TODAY = 20_000
DAY_S = 86_400
WINDOW = 7
_ids = itertools.count()


def view(subject: str, item: str, day: int = TODAY) -> NewInteraction:
    time = day * DAY_S
    interaction = Interaction(
        event_id=str(next(_ids)), item_id=item, event="view", timestamp=time, accepted_at=time, user_id=subject
    )
    return NewInteraction(interaction, "toys", (item_hashes([item])[0], day))


class Stores:
    """The stores of one server."""

    def __init__(self, server: fakeredis.FakeServer, config: StoreConfig) -> None:
        self.client = fakeredis.FakeAsyncRedis(server=server)
        opened = StoreConnection(config, "redis://test", self.client)
        self.seen, self.events, self.data = SeenStore(opened), InteractionStore(opened), UserDataStore(opened)

    async def saw(self, user: str, items: Sequence[str], today: int = TODAY) -> list[bool]:
        return await are_seen(self.seen, [user_subject(user)] * len(items), items, today)


class SeenBackendContract:
    """The cases; `backend` and `other` are the names of the backend and of the other one."""

    backend: ClassVar[Any]
    other: ClassVar[Any]

    @pytest.fixture
    def config(self, tmp_path: Path) -> StoreConfig:
        return StoreConfig(shop="toys", feast_dir=tmp_path, read_timeout_ms=60_000, seen_backend=self.backend)

    @pytest.fixture
    def server(self) -> fakeredis.FakeServer:
        return fakeredis.FakeServer()

    @pytest.fixture
    def stores(self, server: fakeredis.FakeServer, config: StoreConfig) -> Stores:
        return Stores(server, config)

    async def test_subjects_of_a_batch_are_kept_apart(self, stores: Stores) -> None:
        await stores.events.add([view("u", "a"), view("v", "b"), view("u", "c", TODAY - 2)])
        subjects = ["u:u", None, "u:v", "u:nobody", "u:u"]
        assert await are_seen(stores.seen, subjects, ["a"] * 5, TODAY) == [True, False, False, False, True]
        assert await are_seen(stores.seen, subjects, ["c", "b", "b", "b", "b"], TODAY) == [1, 0, 1, 0, 0]
        filters = await stores.seen.read(subjects, TODAY)
        assert filters.filled.tolist() == [0, 2, 4]
        assert await in_filters(filters, [4, 2, 0, 2, 1], ["a", "a", "c", "b", "a"]) == [1, 0, 1, 1, 0]
        assert await in_filters(filters, [], []) == []

    async def test_nobody_has_seen_nothing(self, stores: Stores) -> None:
        assert await are_seen(stores.seen, [None, "u:nobody"], ["a", "a"], TODAY) == [False, False]
        assert (await stores.seen.read([], TODAY)).filled.tolist() == []

    async def test_an_item_leaves_with_its_day(self, stores: Stores) -> None:
        await stores.events.add([view("u", "a"), view("u", "b", TODAY - 3)])
        assert await stores.saw("u", "ab", TODAY - 1) == [False, True]
        assert await stores.saw("u", "ab", TODAY + 3) == [True, True]
        assert await stores.saw("u", "ab", TODAY + 4) == [True, False]
        assert await stores.saw("u", "ab", TODAY + WINDOW) == [False, False]

    async def test_days_that_left_the_window_do_not_come_back(self, stores: Stores) -> None:
        await stores.events.add([view("u", "a")])
        await stores.events.add([view("u", "b", TODAY + WINDOW)])
        await stores.events.add([view("u", "c")])
        assert await stores.saw("u", "abc", TODAY + WINDOW) == [False, True, False]
        assert (await stores.data.read("u")).seen == {TODAY + WINDOW: 1}

    async def test_a_day_grows(self, stores: Stores) -> None:
        items = [f"item-{number}" for number in range(300)]
        for start in range(0, 300, 100):
            await stores.events.add([view("u", item) for item in items[start : start + 100]])
        assert all(await stores.saw("u", items))

    async def test_the_error_rate_is_of_the_union(self, server: fakeredis.FakeServer, config: StoreConfig) -> None:
        # 60 items a day fit a filter before it grows: the stand-in of RedisBloom does not tighten the rate as that does
        stores = Stores(server, config.model_copy(update={"seen_error_rate": 0.05}))
        for ago in range(WINDOW):
            await stores.events.add([view("u", f"{ago}-{number}", TODAY - ago) for number in range(60)])
        unseen = await stores.saw("u", [f"unseen-{number}" for number in range(4_000)])
        assert 0.01 < sum(unseen) / len(unseen) < 0.05

    async def test_a_flush_forgets_what_one_user_saw(self, stores: Stores) -> None:
        await stores.events.add([view("u", "a"), view("u", "b", TODAY - 1), view("u", "c"), view("v", "a")])
        assert (await stores.data.read("u")).seen == {TODAY: 2, TODAY - 1: 1}
        assert await stores.data.flush_seen("u") is True
        assert await stores.data.flush_seen("u") is False
        assert (await stores.data.read("u")).seen == {}
        assert await stores.saw("u", "abc") == [False] * 3
        assert await stores.saw("v", "a") == [True]
        await stores.events.add([view("u", "b")])
        assert await stores.saw("u", "ab") == [False, True]

    async def test_an_erased_user_leaves_no_key(self, stores: Stores) -> None:
        await stores.events.add([view("u", "a"), view("u", "b", TODAY - 1), view("v", "a")])
        await stores.data.erase("u", TODAY * DAY_S)
        assert await stores.client.keys("toys:v3:*:u:u*") == []
        assert await stores.saw("v", "a") == [True]

    async def test_a_new_day_during_a_flush_goes_with_it(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        await stores.events.add([view("u", "a")])
        days = iter(range(TODAY - 3, TODAY))
        read = redis.asyncio.client.Pipeline.zrange

        async def slowly(pipe: Any, *args: Any) -> Any:
            found = await read(pipe, *args)
            for day in itertools.islice(days, 1):
                await stores.events.add([view("u", "b", day)])
                await stores.client.zadd("toys:v3:seen_days:u:u", {str(day): day})
            return found

        monkeypatch.setattr(redis.asyncio.client.Pipeline, "zrange", slowly)
        assert await stores.data.flush_seen("u") is True
        assert await stores.client.keys("toys:v3:seen*") == []
        days = iter(range(TODAY - 20, TODAY))
        with pytest.raises(StoreError, match="others changed the same user 10 times in a row; try again"):
            await stores.data.erase("u", TODAY * DAY_S)

    async def test_every_key_expires(self, stores: Stores) -> None:
        await stores.events.add([view("u", "a"), view("u", "b", TODAY - 1)])
        keys = await stores.client.keys("toys:v3:seen*")
        assert keys
        assert all([0 < await stores.client.ttl(key) <= 90 * DAY_S for key in keys])

    def test_no_false_negative_inside_the_window_and_nothing_of_older_days(self, config: StoreConfig) -> None:
        events = st.tuples(st.sampled_from("uvw"), st.integers(0, 60), st.integers(TODAY - 20, TODAY))

        @given(st.lists(events, min_size=1, max_size=60), st.integers(0, 10))
        @settings(max_examples=15, deadline=None)
        def check(seen: list[tuple[str, int, int]], later: int) -> None:
            asyncio.run(self._check(config, seen, TODAY + later))

        check()

    async def _check(self, config: StoreConfig, seen: list[tuple[str, int, int]], today: int) -> None:
        stores = Stores(fakeredis.FakeServer(), config)
        for start in range(0, len(seen), 20):
            await stores.events.add([view(subject, f"i{item}", day) for subject, item, day in seen[start : start + 20]])
        inside = [(subject, f"i{item}") for subject, item, day in seen if today - WINDOW < day <= today]
        users, items = [user for user, _ in inside], [item for _, item in inside]
        assert all(await are_seen(stores.seen, [user_subject(user) for user in users], items, today))
        for subject in {"u", "v", "w"} - set(users):
            assert not any(await stores.saw(subject, [f"i{item}" for _, item, _ in seen], today))

    async def test_tables_replace_their_days_and_what_is_newer_stays(
        self, stores: Stores, server: fakeredis.FakeServer, config: StoreConfig
    ) -> None:
        await stores.events.add([view("u", "wrong", TODAY - 1), view("u", "new"), view("s", "wrong", TODAY - 2)])
        await stores.events.add([view("t", "new")])
        tables = [
            seen_table(("u", "a", TODAY - 1), ("u", "b", TODAY - 1), ("u", "c", TODAY - 3), ("x", "a", TODAY - 2)),
            seen_table(("y", "a", TODAY - 8), ("gone", "a", TODAY - 1)),
            seen_table(),
        ]
        fill(server, config, tables, erased={"gone"})
        assert await stores.saw("u", ["wrong", "new", "a", "b", "c"]) == [False, True, True, True, True]
        assert (await stores.data.read("u")).seen == {TODAY: 1, TODAY - 1: 2, TODAY - 3: 1}
        assert await are_seen(
            stores.seen, [f"u:{user}" for user in ("x", "t", "s", "y", "gone")], ["a", "new", "wrong", "a", "a"], TODAY
        ) == [
            1,
            1,
            0,
            0,
            0,
        ]

    async def test_a_lost_store_is_filled_again(
        self, stores: Stores, server: fakeredis.FakeServer, config: StoreConfig
    ) -> None:
        tables = [seen_table(*(("u", f"i{number}", TODAY - 1 - number % 5) for number in range(200)))]
        assert fill(server, config, tables) == 1
        await stores.client.flushall()
        assert fill(server, config, tables) == 1
        assert all(await stores.saw("u", [f"i{number}" for number in range(200)]))
        assert all([await stores.client.ttl(key) > 0 for key in await stores.client.keys("toys:v3:seen*")])

    async def test_a_subject_in_two_tables_is_refused(self, server: fakeredis.FakeServer, config: StoreConfig) -> None:
        with pytest.raises(DataError, match="comes twice; a table must hold all rows of its subjects"):
            fill(server, config, [seen_table(("u", "a", TODAY - 1)), seen_table(("u", "b", TODAY - 1))])

    async def test_what_the_other_backend_left_goes(
        self, stores: Stores, server: fakeredis.FakeServer, config: StoreConfig
    ) -> None:
        before = Stores(server, config.model_copy(update={"seen_backend": self.other}))
        await before.events.add([view("u", "a"), view("v", "a", TODAY - 1), view("w", "a")])
        left = set(await stores.client.keys("toys:v3:seen*"))
        assert await stores.data.flush_seen("w") is True
        fill(server, config, [seen_table(("u", "b", TODAY - 1))])
        assert not left & set(await stores.client.keys("toys:v3:seen*"))
        assert await stores.saw("u", "ab") == [False, True]


class TestBitmap(SeenBackendContract):
    backend, other = "bitmap", "module"


class TestModule(SeenBackendContract):
    backend, other = "module", "bitmap"

    async def test_candidates_are_asked_about_in_one_round_trip(self, stores: Stores) -> None:
        await stores.events.add([view("u", "a"), view("u", "b", TODAY - 1), view("v", "a")])
        filters = await stores.seen.read(["u:u", "u:v", None], TODAY)
        asked: list[int] = []
        execute = stores.client.connection_pool.get_connection

        async def counted(*args: Any, **options: Any) -> Any:
            asked.append(1)
            return await execute(*args, **options)

        stores.client.connection_pool.get_connection = counted  # type: ignore[method-assign]
        assert await in_filters(filters, [0, 0, 1, 2], ["a", "b", "b", "a"]) == [True, True, False, False]
        assert len(asked) == 1


def seen_table(*rows: tuple[str, str, int]) -> pa.Table:
    users, items, days = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {
        "subject_id": pa.array([user_subject(user) for user in users], pa.string()),
        "item_id": pa.array(items, pa.string()),
    }
    return pa.table(columns | {"day": pa.array(days, pa.int64())})


def fill(
    server: fakeredis.FakeServer, config: StoreConfig, tables: Sequence[pa.Table], erased: set[str] | None = None
) -> int:
    """Fills the seen items of a store from tables that end yesterday; how many subjects have some afterwards."""
    client, end = fakeredis.FakeRedis(server=server), TablesEnd(TODAY - 1, TODAY * DAY_S)
    state = StateFiller(client, config, end, erased or set(), accepted=set())
    filler = seen_filler(client, config, "redis://test", state, end)
    filler.fill(tables)
    filler.clear()
    state.clear()
    return filler.num_seen
