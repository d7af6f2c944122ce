"""The atomic step: what one batch of interactions changes, and what nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

from contracts.bloom import item_hashes
from contracts.errors import StoreError
from contracts.features import TOP_CATEGORY_EVENTS
from contracts.interactions import STREAM_FIELD, Interaction, decode
from contracts.user_records import RecentItems
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.keys import Keys
from serving.stores.recent import RecentItemStore, encode
from serving.stores.seen import SeenStore
from tests.fixtures.seen import are_seen

NOW = 20_000 * 86_400 + 3_600
TODAY = 20_000
DAY_S = 86_400


def event(
    event_id: str,
    item: str = "a",
    subject: str = "u",
    *,
    ago: int = 0,
    category: str | None = "books",
    seen: bool = True,
    session: bool = False,
) -> NewInteraction:
    who: dict[str, Any] = {"session_id": subject} if session else {"user_id": subject}
    time = NOW - ago
    interaction = Interaction(event_id=event_id, item_id=item, event="click", timestamp=time, accepted_at=NOW, **who)
    return NewInteraction(interaction, category, (item_hashes([item])[0], time // DAY_S) if seen else None)


class Reader:
    """What serving and consumers find."""

    def __init__(self, client: redis.asyncio.Redis, config: StoreConfig) -> None:
        self._client = client
        self._recent = RecentItemStore(StoreConnection(config, "redis://test", client))
        self._seen = SeenStore(StoreConnection(config, "redis://test", client))

    async def recent(self, subject: str = "u:u") -> RecentItems:
        return (await self._recent.read([subject]))[0]

    async def day(self, subject: str = "u:u") -> RecentItems:
        return (await self._recent.read_day([subject]))[0]

    async def seen(self, *items: str, subject: str = "u:u", today: int = TODAY) -> list[bool]:
        return await are_seen(self._seen, [subject] * len(items), items, today)

    async def stream(self) -> list[Interaction]:
        entries = await self._client.xrange("toys:v3:interactions")
        assert all(list(fields) == [STREAM_FIELD] for _, fields in entries)
        return [decode(fields[STREAM_FIELD]) for _, fields in entries]


@pytest.fixture
def reader(client: redis.asyncio.Redis, config: StoreConfig) -> Reader:
    return Reader(client, config)


async def test_one_batch_changes_everything(store: InteractionStore, reader: Reader) -> None:
    batch = [
        event("e1", "a", ago=20),
        event("e2", "b", ago=10, category=None),
        event("e3", "a", subject="s", session=True),
        event("e4", "a", ago=5, seen=False),
    ]
    assert await store.add(batch) == ["accepted"] * 4
    assert await reader.recent() == RecentItems(("a", "b", "a"), (NOW - 5, NOW - 10, NOW - 20))
    assert await reader.day() == RecentItems(("books", "", "books"), (NOW - 5, NOW - 10, NOW - 20))
    assert await reader.recent("s:s") == RecentItems(("a",), (NOW,))
    assert await reader.seen("a", "b", "c") == [True, True, False]
    assert await reader.seen("a", "b", subject="s:s") == [True, False]
    assert await reader.stream() == [one.interaction for one in batch]
    assert await store.add([]) == []


async def test_an_event_that_marks_nothing_as_seen_leaves_the_ring_alone(
    store: InteractionStore, reader: Reader, client: redis.asyncio.Redis
) -> None:
    await store.add([event("e1", "a", seen=False)])
    assert await client.get("toys:v3:seen:u:u") is None
    assert await reader.seen("a") == [False]
    assert (await reader.recent()).item_ids == ("a",)


async def test_repeated_ids_change_nothing(
    store: InteractionStore, reader: Reader, client: redis.asyncio.Redis
) -> None:
    assert await store.add([event("e1", "a"), event("e1", "b"), event("e2", "c")]) == [
        "accepted",
        "duplicate",
        "accepted",
    ]
    before = {key: await client.dump(key) for key in await client.keys()}
    assert await store.add([event("e2", "z"), event("e1", "z")]) == ["duplicate", "duplicate"]
    assert {key: await client.dump(key) for key in await client.keys()} == before
    assert await store.add([event("e1", "z"), event("e3", "d")]) == ["duplicate", "accepted"]
    assert (await reader.recent()).item_ids == ("d", "c", "a")
    assert [one.event_id for one in await reader.stream()] == ["e1", "e2", "e3"]


async def test_an_id_of_one_subject_says_nothing_about_another(
    store: InteractionStore, client: redis.asyncio.Redis, reader: Reader
) -> None:
    await client.hset("toys:v3:erased", "gone", NOW)
    batch = [event("1", subject="gone"), event("1", subject="77"), event("1", subject="77", session=True)]
    assert await store.add(batch) == ["erased", "accepted", "accepted"]
    assert await store.add([event("1", subject="78"), *batch[1:]]) == ["accepted", "duplicate", "duplicate"]
    assert [one.subject for one in await reader.stream()] == ["u:77", "s:77", "u:78"]


async def test_ids_are_forgotten_after_their_time_and_keys_after_theirs(
    store: InteractionStore, client: redis.asyncio.Redis
) -> None:
    await store.add([event("e1")])
    lifetimes = {Keys("toys").event("u:u", "e1").removeprefix("toys:v3:"): 1} | {
        f"{kind}:u:u": 90 for kind in ("recent", "day", "seen")
    }
    for key, days in lifetimes.items():
        assert days * DAY_S - 600 < await client.ttl(f"toys:v3:{key}") <= days * DAY_S, key
    assert await client.ttl("toys:v3:interactions") == -1


async def test_recent_items_and_categories_are_trimmed(client: redis.asyncio.Redis, config: StoreConfig) -> None:
    few = config.model_copy(update={"history_length": 2, "history_days": 2})
    store, reader = InteractionStore(StoreConnection(few, "redis://test", client)), Reader(client, few)
    await store.add([event("e1", "a", ago=DAY_S, category="out"), event("e2", "b", ago=DAY_S - 1, category="in")])
    await store.add([event("e3", "c", category="now")])
    assert (await reader.recent()).item_ids == ("c", "b")
    assert (await reader.day()).item_ids == ("now", "in")
    await store.add([event("e4", "late", ago=100, category="late"), event("e5", "old", ago=3 * DAY_S)])
    assert (await reader.recent()).item_ids == ("c", "late")
    assert (await reader.day()).item_ids == ("now", "late", "in")


async def test_what_a_busy_session_leaves_has_a_bound(
    store: InteractionStore, reader: Reader, client: redis.asyncio.Redis
) -> None:
    sizes = []
    for batch in range(8):
        new = [event(f"{batch}-{n}", f"i{n}", "busy", session=True, category=f"c{n % 7}") for n in range(100)]
        assert await store.add(new) == ["accepted"] * 100
        sizes.append([await client.strlen(f"toys:v3:{kind}:s:busy") for kind in ("recent", "day", "seen")])
    assert sizes[2:] == [sizes[1]] * 6
    assert len((await reader.day("s:busy")).timestamps) == TOP_CATEGORY_EVENTS


async def test_keys_of_a_session_with_one_event_expire_in_hours(
    store: InteractionStore, client: redis.asyncio.Redis
) -> None:
    async def hours(subject: str) -> set[int]:
        return {-(-await client.ttl(f"toys:v3:{kind}:{subject}") // 3_600) for kind in ("recent", "day", "seen")}

    await store.add([event("1", subject="s", session=True), event("1", subject="u")])
    await store.add([event(str(n), subject="two", session=True) for n in range(2)])
    assert (await hours("s:s"), await hours("u:u"), await hours("s:two")) == ({6}, {90 * 24}, {7 * 24})
    await store.add([event("2", subject="s", session=True, seen=False)])
    assert await hours("s:s") == {7 * 24}


async def test_an_event_goes_into_the_day_on_which_it_happened(store: InteractionStore, reader: Reader) -> None:
    await store.add([event("e1", "a", ago=6 * DAY_S), event("e2", "b", ago=7 * DAY_S)])
    await store.add([event("e3", "c")])
    assert await reader.seen("a", "c") == [True, True]
    assert await reader.seen("a", "c", today=TODAY + 1) == [False, True]
    assert await reader.seen("a", "b", "c", today=TODAY + 7) == [False, False, False]


async def test_events_of_erased_users_are_left_out(
    store: InteractionStore, reader: Reader, client: redis.asyncio.Redis
) -> None:
    await client.hset("toys:v3:erased", "gone", NOW)
    batch = [event("e1", subject="gone"), event("e2"), event("e3", subject="gone", session=True)]
    assert await store.add(batch) == ["erased", "accepted", "accepted"]
    assert [one.event_id for one in await reader.stream()] == ["e2", "e3"]
    assert len(await client.keys("toys:v3:event:*")) == 2


def interrupted(client: redis.asyncio.Redis, between: Callable[[], Any], times: int = 1) -> None:
    """Runs something between the reads and the writes of the next steps."""
    pipeline = client.pipeline
    left = [times]

    def pipeline_with_interruption(**options: bool) -> Any:
        pipe = pipeline(**options)
        execute = pipe.execute

        async def execute_then_other() -> Any:
            found = await execute()
            if left[0] > 0:
                left[0] -= 1
                await between()
            return found

        pipe.execute = execute_then_other
        return pipe

    client.pipeline = pipeline_with_interruption  # type: ignore[method-assign]


async def test_two_writers_of_one_subject_lose_nothing(
    store: InteractionStore, reader: Reader, client: redis.asyncio.Redis, config: StoreConfig
) -> None:
    other = InteractionStore(StoreConnection(config, "redis://test", client))
    interrupted(client, lambda: other.add([event("e1", "theirs"), event("e3", "both")]))
    assert await store.add([event("e2", "ours"), event("e3", "both")]) == ["accepted", "duplicate"]
    assert sorted((await reader.recent()).item_ids) == ["both", "ours", "theirs"]
    assert await reader.seen("theirs", "ours", "both") == [True, True, True]
    assert [one.event_id for one in await reader.stream()] == ["e1", "e3", "e2"]


async def test_what_is_flushed_or_erased_meanwhile_does_not_come_back(
    store: InteractionStore, reader: Reader, client: redis.asyncio.Redis
) -> None:
    await store.add([event("e1", "a")])
    interrupted(client, lambda: client.delete("toys:v3:seen:u:u"))
    await store.add([event("e2", "b")])
    assert await reader.seen("a", "b") == [False, True]
    interrupted(client, lambda: client.hset("toys:v3:erased", "u", NOW))
    assert await store.add([event("e3", "c")]) == ["erased"]


async def test_a_subject_that_never_rests_is_given_up(store: InteractionStore, client: redis.asyncio.Redis) -> None:
    times = iter(range(100))

    async def another() -> None:
        await client.set("toys:v3:recent:u:u", encode(RecentItems(("theirs",), (next(times),))))

    interrupted(client, another, times=100)
    with pytest.raises(StoreError, match="others changed the same subjects 10 times in a row; try again"):
        await store.add([event("e1")])
    assert await client.exists("toys:v3:interactions", "toys:v3:event:e1") == 0


async def test_a_damaged_value_is_replaced_and_holds_nobody_up(
    store: InteractionStore, client: redis.asyncio.Redis
) -> None:
    await client.set("toys:v3:seen:u:u", damaged := b"12345678" * 30)
    assert await store.add([event("e1", subject="v"), event("e2")]) == ["accepted", "accepted"]
    assert await client.get("toys:v3:seen:u:u") != damaged
