"""Writes batches of interactions; each batch in one atomic step, after which it is durable.

The step is optimistic (decision 6): it reads the values that it will change and computes new ones. One script then
writes all of them, or nothing if a value has changed since it was read; in that case the step starts again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final, Literal, NamedTuple

from contracts.bloom_edit import RingEditor
from contracts.clock import DAY_S, HOUR_S
from contracts.errors import StoreError
from contracts.ids import Words
from contracts.interactions import STREAM_FIELD, Interaction, encode
from serving.stores import recent
from serving.stores.connection import StoreConnection
from serving.stores.keys import Keys
from serving.stores.seen import ring_layout
from serving.stores.seen_backend import Backend, SeenBackend
from serving.stores.seen_module import FILE_SEEN, FilterCommands

_MAX_ATTEMPTS: Final = 10
# KEYS: erased users; the stream; remembered ids; changed states; for each RedisBloom filter the days of its subject;
# popular items of each day.
# ARGV: numbers of users, ids, states and filters; seconds for ids and for popular items; users; old values of the
# states ('' = none); arguments of `FILE_SEEN` for each filter; one stream entry an id; new values of the states, each
# with its seconds; for each day the number of items, then the id and count of each. Everything is checked before
# anything is written. RedisBloom, which might refuse a write, comes first.
_COMMIT: Final = f"""
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
local function spare(key, kind)  -- removes a key of another type
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('UNLINK', key) end
end
local erased, stream = KEYS[1], KEYS[2]
local num_users, num_ids = tonumber(take()), tonumber(take())
local num_states, num_filters = tonumber(take()), tonumber(take())
local last_id = 2 + num_ids
local last_state = last_id + num_states
local last_filter = last_state + num_filters
local remembered_s, popular_s = take(), take()
for _ = 1, num_users do
  if redis.call('HEXISTS', erased, take()) == 1 then return 0 end
end
-- like MGET, treats a key of another type as missing
for id = 3, last_id do
  if type(redis.pcall('GET', KEYS[id])) == 'string' then return 0 end
end
for state = last_id + 1, last_state do
  local found = redis.pcall('GET', KEYS[state])
  if ((type(found) == 'string' and found) or '') ~= take() then return 0 end
end
for filter = last_state + 1, last_filter do
{FILE_SEEN}end
for id = 3, last_id do
  redis.call('XADD', stream, '*', '{STREAM_FIELD.decode()}', take())
  redis.call('SET', KEYS[id], '', 'EX', remembered_s)
end
for state = last_id + 1, last_state do
  redis.call('SET', KEYS[state], take(), 'EX', take())
end
for day = last_filter + 1, #KEYS do
  spare(KEYS[day], 'hash')
  for _ = 1, tonumber(take()) do
    local item, count = take(), take()
    local reply = redis.pcall('HINCRBY', KEYS[day], item, count)
    if type(reply) == 'table' then redis.call('HSET', KEYS[day], item, count) end  -- the old value was no number
  end
  redis.call('EXPIRE', KEYS[day], popular_s)
end
return 1
"""
Outcome = Literal["accepted", "duplicate", "erased"]


class NewInteraction(NamedTuple):
    """An interaction to be written.

    Attributes:
        interaction: the stream's entry.
        category: category_l1 of the item; None = none.
        seen: hashes of the item, [2] uint64, and its shop-local day; None = the item does not count as seen.
    """

    interaction: Interaction
    category: str | None
    seen: tuple[Words, int] | None


class _Keyed(NamedTuple):
    """A new interaction, its subject, and the key that remembers its id."""

    new: NewInteraction
    subject: str
    key: str


class _Subject(NamedTuple):
    """Stored values of a subject."""

    recent: bytes | None
    day: bytes | None
    seen: bytes | None


class InteractionStore:
    """Writes interactions of any subjects.

    Args:
        stores: the connection.
    """

    def __init__(self, stores: StoreConnection) -> None:
        self._stores = stores
        self._keys = Keys(stores.config.shop)
        self._rings = RingEditor(ring_layout(stores.config))
        self._filters = FilterCommands(stores.config)
        self._backend = SeenBackend(stores.config, stores.address)
        self._commit = stores.client.register_script(_COMMIT)

    async def add(self, new: Sequence[NewInteraction]) -> list[Outcome]:
        """Writes a batch, all or nothing: ids, recent items, categories, seen items, popularity and the stream.

        The first of a subject's interactions with one id counts, in this batch or an earlier one. Those of erased users
        are left out.

        Returns:
            The outcome of each.

        Raises:
            StoreError: the store does not answer in time or refuses the write, or others keep changing the same keys.
        """
        if not new:
            return []
        async with self._stores.errors():
            backend = await self._backend.ask(self._stores.client)
            keyed = [self._keyed(one) for one in new]
            for _ in range(_MAX_ATTEMPTS):
                outcomes, states = await self._read(keyed)
                accepted = [one for one, outcome in zip(keyed, outcomes, strict=True) if outcome == "accepted"]
                if not accepted or await self._write(accepted, states, backend):
                    return outcomes
        raise StoreError(f"others changed the same subjects {_MAX_ATTEMPTS} times in a row; try again")

    def _keyed(self, new: NewInteraction) -> _Keyed:
        subject = new.interaction.subject
        return _Keyed(new, subject, self._keys.event(subject, new.interaction.event_id))

    async def _read(self, keyed: Sequence[_Keyed]) -> tuple[list[Outcome], dict[str, _Subject]]:
        """The outcome of each if it was written now, and the states of the subjects."""
        ids = [one.key for one in keyed]
        subjects = list(dict.fromkeys(one.subject for one in keyed))
        users = list({user for one in keyed if (user := one.new.interaction.user_id) is not None})
        async with self._stores.client.pipeline(transaction=False) as pipe:
            pipe.mget(ids + [key for subject in subjects for key in self._state_keys(subject)])
            if users:
                pipe.hmget(self._keys.erased, users)
            found, *stamps = await pipe.execute()
        erased = {user for user, stamp in zip(users, chain(*stamps), strict=True) if stamp is not None}
        values = iter(found[len(ids) :])
        states = dict(zip(subjects, map(_Subject, values, values, values), strict=True))
        return _outcomes(keyed, found[: len(ids)], erased), states

    async def _write(self, accepted: Sequence[_Keyed], states: Mapping[str, _Subject], backend: Backend) -> bool:
        """Writes accepted interactions and remembers their ids; False if a value changed since it was read."""
        of_subject: dict[str, list[NewInteraction]] = {}
        for one in accepted:
            of_subject.setdefault(one.subject, []).append(one.new)
        changed, old, new, filters, filed = [], [], [], [], []
        for subject, some in of_subject.items():
            before, seen = states[subject], [one.seen for one in some if one.seen is not None]
            lifetime_s = self._stores.config.lifetime_s(subject, first=before.recent is None and len(some) == 1)
            if backend == "module":
                for day, hashes in _by_day(seen).items():
                    filters.append(self._keys.seen_days(subject))
                    filed += self._filters.filed(subject, day, hashes, lifetime_s)
                seen = []
            after = self._changed(before, some, seen)
            for key, was, value in zip(self._state_keys(subject), before, after, strict=True):
                if value is not None:
                    changed.append(key)
                    old.append(was or b"")
                    new += [value, lifetime_s]
        written, ids = [one.new for one in accepted], [one.key for one in accepted]
        users = {one.interaction.user_id for one in written if one.interaction.user_id is not None}
        days, popular = _popular(written)
        keys = [self._keys.erased, self._keys.interactions, *ids, *changed, *filters, *map(self._keys.popular, days)]
        lifetimes = self._stores.config.event_memory_hours * HOUR_S, (self._stores.config.seen_window_days + 1) * DAY_S
        entries = [encode(one.interaction) for one in written]
        numbers = len(users), len(ids), len(changed), len(filters)
        return bool(await self._commit(keys, [*numbers, *lifetimes, *users, *old, *filed, *entries, *new, *popular]))

    def _state_keys(self, subject: str) -> tuple[str, ...]:
        """Keys of a subject, in the order of `_Subject`."""
        return self._keys.recent(subject), self._keys.day(subject), self._keys.seen(subject)

    def _changed(self, old: _Subject, some: Sequence[NewInteraction], seen: Sequence[tuple[Words, int]]) -> _Subject:
        """New values of a subject; `seen` has the items for its ring."""
        times = [one.interaction.timestamp for one in some]
        items = recent.decode_or_nothing(old.recent).with_newer(
            [one.interaction.item_id for one in some],
            times,
            max_age_s=self._stores.config.history_days * DAY_S,
            length=self._stores.config.history_length,
        )
        day = recent.decode_or_nothing(old.day)
        categories = recent.with_newer_categories(day, [one.category or "" for one in some], times)
        ring = old.seen
        if seen:
            marks = [hashes.tolist() for hashes, _ in seen], [day for _, day in seen]
            try:
                ring = self._rings.add(ring, *marks)
            except StoreError:  # damaged, or written with another window or error rate
                ring = self._rings.add(None, *marks)
        return _Subject(recent.encode(items), recent.encode(categories), ring)


def _outcomes(keyed: Sequence[_Keyed], known: Sequence[bytes | None], erased: set[str]) -> list[Outcome]:
    """The outcome of each, from the remembered values of its key and the erased users."""
    outcomes: list[Outcome] = []
    met: set[str] = set()
    for one, remembered in zip(keyed, known, strict=True):
        if one.new.interaction.user_id in erased:
            outcomes.append("erased")
        elif remembered is not None or one.key in met:
            outcomes.append("duplicate")
        else:
            outcomes.append("accepted")
        met.add(one.key)
    return outcomes


def _by_day(seen: Sequence[tuple[Words, int]]) -> dict[int, list[Words]]:
    """Hashes of seen items by shop-local day."""
    of_day: defaultdict[int, list[Words]] = defaultdict(list)
    for hashes, day in seen:
        of_day[day].append(hashes)
    return of_day


def _popular(accepted: Sequence[NewInteraction]) -> tuple[list[int], list[str | int]]:
    """Shop-local days, and for each of them the number of seen items, then the id and count of each."""
    of_day: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for one in accepted:
        if one.seen is not None:
            of_day[one.seen[1]][one.interaction.item_id] += 1
    numbers: list[str | int] = []
    for counts in of_day.values():
        numbers.append(len(counts))
        for item_id, count in counts.items():
            numbers += [item_id, count]
    return list(of_day), numbers
