"""Writes interactions: one atomic step for a batch of them, after which they are durable.

The step is optimistic (decision 6): it reads what it is going to change while watching one key a subject and state,
computes the new values, and writes all of them in one transaction, which Redis refuses when a watched key has changed
meanwhile. Then it starts again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import redis
import redis.asyncio

from contracts.bloom import Words
from contracts.bloom_edit import RingEditor
from contracts.clock import DAY_S, HOUR_S
from contracts.errors import StoreError
from contracts.features import TOP_CATEGORY_WINDOW_S
from contracts.interactions import STREAM_FIELD, Interaction, encode
from serving.stores import recent
from serving.stores.client import store_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys
from serving.stores.seen import ring_layout

_MAX_ATTEMPTS: Final = 10
Outcome = Literal["accepted", "duplicate", "erased"]


class NewInteraction(NamedTuple):
    """An interaction to be written.

    Attributes:
        interaction: as it goes into the stream.
        category: category_l1 of the item, None = none.
        seen: hashes of the item, [2] uint64, and the shop-local day to file it under; None = it marks nothing as seen.
    """

    interaction: Interaction
    category: str | None
    seen: tuple[Words, int] | None


class _Subject(NamedTuple):
    """What the store has about a subject."""

    recent: bytes | None
    day: bytes | None
    seen: bytes | None


class InteractionStore:
    """Writes interactions of any subjects.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address, for messages.
        client: connection of this event loop.
    """

    def __init__(self, config: StoreConfig, address: str, client: redis.asyncio.Redis) -> None:
        self._config = config
        self._address = address
        self._client = client
        self._keys = Keys(config.shop)
        self._rings = RingEditor(ring_layout(config))

    async def add(self, new: Sequence[NewInteraction]) -> list[Outcome]:
        """Writes a batch, all or nothing: ids, recent items, categories, seen rings, popularity and the stream.

        Of interactions with the same id the first one counts, whether in this batch or in an earlier one; those of
        erased users are left out.

        Returns:
            What became of each.

        Raises:
            StoreError: the store does not answer in time or refuses the write, or others keep writing the same keys.
        """
        if not new:
            return []
        async with store_errors(self._config, self._address):
            for _ in range(_MAX_ATTEMPTS):
                try:
                    return await self._try_add(new)
                except redis.WatchError:
                    continue
        raise StoreError(f"others changed the same subjects {_MAX_ATTEMPTS} times in a row; try again")

    async def _try_add(self, new: Sequence[NewInteraction]) -> list[Outcome]:
        events = [self._keys.event(one.interaction.event_id) for one in new]
        subjects = list(dict.fromkeys(one.interaction.subject for one in new))
        recents = [self._keys.recent(subject) for subject in subjects]
        rings = [self._keys.seen(subject) for subject in subjects]
        days = [self._keys.day(subject) for subject in subjects]
        async with self._client.pipeline(transaction=True) as pipe:
            # Every writer of a subject writes its recent items; a flush changes the ring, an erasure the erased users.
            await pipe.watch(self._keys.erased, *recents, *rings)
            found = await pipe.mget([*events, *recents, *days, *rings])
            known, states = found[: len(events)], found[len(events) :]
            outcomes = _outcomes(new, known, await self._erased(pipe, new))
            accepted = [one for one, outcome in zip(new, outcomes, strict=True) if outcome == "accepted"]
            pipe.multi()
            if accepted:
                size = len(subjects)
                columns = (states[:size], states[size : 2 * size], states[2 * size :])
                self._write(pipe, accepted, dict(zip(subjects, map(_Subject, *columns), strict=True)))
            await pipe.execute()
        return outcomes

    async def _erased(self, pipe: redis.asyncio.client.Pipeline, new: Sequence[NewInteraction]) -> set[str]:
        users = list({one.interaction.user_id for one in new if one.interaction.user_id is not None})
        if not users:
            return set()
        stamps = await pipe.hmget(self._keys.erased, users)
        return {user for user, stamp in zip(users, stamps, strict=True) if stamp is not None}

    def _write(
        self, pipe: redis.asyncio.client.Pipeline, accepted: Sequence[NewInteraction], states: Mapping[str, _Subject]
    ) -> None:
        of_subject: dict[str, list[NewInteraction]] = {}
        for one in accepted:
            of_subject.setdefault(one.interaction.subject, []).append(one)
            pipe.set(self._keys.event(one.interaction.event_id), b"", ex=self._config.event_memory_hours * HOUR_S)
            pipe.xadd(self._keys.interactions, {STREAM_FIELD: encode(one.interaction)})
        popular = Counter((one.seen[1], one.interaction.item_id) for one in accepted if one.seen is not None)
        for (day, item_id), count in popular.items():
            pipe.hincrby(self._keys.popular(day), item_id, count)
        for day in {day for day, _ in popular}:
            pipe.expire(self._keys.popular(day), (self._config.seen_window_days + 1) * DAY_S)
        for subject, some in of_subject.items():
            changed = self._changed(states[subject], some)
            is_user = any(one.interaction.user_id is not None for one in some)
            lifetime_s = (self._config.user_days if is_user else self._config.session_days) * DAY_S
            pipe.set(self._keys.recent(subject), changed.recent, ex=lifetime_s)
            pipe.set(self._keys.day(subject), changed.day, ex=lifetime_s)
            if changed.seen is not None:
                pipe.set(self._keys.seen(subject), changed.seen, ex=lifetime_s)

    def _changed(self, old: _Subject, some: Sequence[NewInteraction]) -> _Subject:
        """A subject's values after some interactions."""
        times = [one.interaction.timestamp for one in some]
        items = recent.decode(old.recent).with_newer(
            [one.interaction.item_id for one in some],
            times,
            max_age_s=self._config.history_days * DAY_S,
            length=self._config.history_length,
        )
        categories = recent.decode(old.day).with_newer(
            [one.category or "" for one in some], times, max_age_s=TOP_CATEGORY_WINDOW_S - 1
        )
        seen = [one.seen for one in some if one.seen is not None]
        ring = old.seen
        if seen:
            hashes, days = zip(*seen, strict=True)
            ring = self._rings.add(ring, np.stack(hashes), np.array(days))
        return _Subject(recent.encode(items), recent.encode(categories), ring)


def _outcomes(new: Sequence[NewInteraction], known: Sequence[bytes | None], erased: set[str]) -> list[Outcome]:
    """What becomes of each, given the remembered ids and the erased users."""
    outcomes: list[Outcome] = []
    met: set[str] = set()
    for one, remembered in zip(new, known, strict=True):
        event_id = one.interaction.event_id
        if one.interaction.user_id in erased:
            outcomes.append("erased")
        elif remembered is not None or event_id in met:
            outcomes.append("duplicate")
        else:
            outcomes.append("accepted")
        met.add(event_id)
    return outcomes
