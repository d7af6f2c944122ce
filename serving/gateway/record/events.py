"""Decodes and checks posted events one by one, so that an invalid event does not affect the others."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.clock import DAY_S, Clock
from contracts.errors import MalformedError, RequestError
from contracts.ids import subject_of
from contracts.interactions import Interaction
from recommender_api.interactions import MAX_EVENTS, InteractionEvent, RefusedEvent
from recommender_api.shop import ShopTypes
from serving.gateway.decoding import refusal
from serving.gateway.shop.context import ContextReader
from serving.stores.config import StoreConfig
from serving.stores.interactions import NewInteraction

_MAX_MESSAGE_CHARS: Final = 300
_ID_BYTES: Final = 16
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class EventDecoder:
    """Decodes events of a shop.

    Args:
        types: of the shop.
    """

    def __init__(self, types: ShopTypes) -> None:
        self._event = types.event
        self._all = msgspec.json.Decoder(types.events)
        self._one = msgspec.json.Decoder(types.event)

    def __call__(self, body: bytes) -> Sequence[InteractionEvent | RefusedEvent]:
        """The events in a body: one event or a list.

        Raises:
            MalformedError: not JSON.
            RequestError: neither an event nor a list, an empty list, or too many events.
        """
        try:
            try:
                found = self._all.decode(body)
            except msgspec.ValidationError:
                return self._one_by_one(body)
        except msgspec.ValidationError as error:
            raise RequestError(f"{error}; expected an event or a list of 1 to {MAX_EVENTS} events") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedError(f"the body is not valid JSON: {error}") from None
        return found if isinstance(found, list) else [found]

    def _one_by_one(self, body: bytes) -> list[InteractionEvent | RefusedEvent]:
        raws = [msgspec.Raw(body)] if body.lstrip().startswith(b"{") else _raw_decoder.decode(body)
        if not 1 <= len(raws) <= MAX_EVENTS:
            raise RequestError(f"{len(raws)} events, expected 1 to {MAX_EVENTS} in a request")
        events: list[InteractionEvent | RefusedEvent] = []
        for index, raw in enumerate(raws):
            try:
                events.append(self._one.decode(raw))
            except msgspec.ValidationError as error:
                message = refusal(error, self._event).message
                events.append(RefusedEvent(index, "invalid_event", message[:_MAX_MESSAGE_CHARS]))
        return events


class EventReader:
    """Checks events against the catalogue and the clock.

    An event without a `timestamp`, or up to `max_future_s` ahead of the clock, counts as of now. Events further ahead,
    or older than the history, are refused. Events older than the seen window hide no items, but count in history and
    training.

    Args:
        bundle: has the catalogue.
        clock: tells now.
        stores: lengths of history and seen window.
        max_future_s: how far a client's clock may be ahead.
    """

    def __init__(self, bundle: Bundle, clock: Clock, stores: StoreConfig, max_future_s: int) -> None:
        self._clock = clock
        self._item_rows = bundle.item_rows
        self._hashes = np.asarray(bundle.array("bloom/hashes"))  # indexing a memmap takes ten times as long
        self._categories = bundle.strings(f"items/{c.CATEGORY_L1}")
        self._calendar = bundle.transforms.calendar
        self._context = ContextReader(bundle.schema)
        self._seen_events = frozenset(bundle.manifest.seen_events)
        self._max_age_s = stores.history_days * DAY_S
        self._window_days = stores.seen_window_days
        self._max_future_s = max_future_s

    def __call__(self, events: Sequence[InteractionEvent | RefusedEvent]) -> list[NewInteraction | RefusedEvent]:
        """Each event to write, or the reason of its refusal."""
        now = self._clock.now()
        checked = [
            event if isinstance(event, RefusedEvent) else self._refusal(index, event, now) or event
            for index, event in enumerate(events)
        ]
        times = [min(event.timestamp or now, now) if isinstance(event, InteractionEvent) else now for event in checked]
        *days, today = self._calendar.day(np.array([*times, now])).tolist()
        equal: Counter[tuple[object, ...]] = Counter()
        return [
            event
            if isinstance(event, RefusedEvent)
            else self._new(event, time, now, day if today - self._window_days < day else None, equal)
            for event, time, day in zip(checked, times, days, strict=True)
        ]

    def _refusal(self, index: int, event: InteractionEvent, now: int) -> RefusedEvent | None:
        if subject_of(event.user_id, event.session_id) is None:
            return RefusedEvent(index, "no_subject", "neither user_id nor session_id is given; give one")
        if event.item_id not in self._item_rows:
            return RefusedEvent(index, "unknown_item", f"the catalogue has no item {event.item_id!r}")
        ahead_s = (event.timestamp or now) - now
        if ahead_s > self._max_future_s:
            return RefusedEvent(
                index,
                "in_the_future",
                f"timestamp {event.timestamp} is {ahead_s} s ahead of {now}; at most {self._max_future_s} s are taken",
            )
        if -ahead_s > self._max_age_s:
            oldest = now - self._max_age_s
            return RefusedEvent(index, "too_old", f"timestamp {event.timestamp} is before {oldest}, the oldest taken")
        return None

    def _new(
        self, event: InteractionEvent, time: int, now: int, seen_day: int | None, equal: Counter[tuple[object, ...]]
    ) -> NewInteraction:
        row = self._item_rows[event.item_id]
        interaction = Interaction(
            event_id=event.event_id or _made_id(event, equal),
            item_id=event.item_id,
            event=event.event,
            timestamp=time,
            accepted_at=now,
            user_id=event.user_id,
            session_id=event.session_id,
            device_type=event.device_type,
            request_id=event.request_id,
            context=self._context.values(event.context),
        )
        seen = None
        if seen_day is not None and event.event in self._seen_events:
            seen = self._hashes[row], seen_day
        return NewInteraction(interaction, self._categories[row], seen)


def _made_id(event: InteractionEvent, equal: Counter[tuple[object, ...]]) -> str:
    """A hash of subject, item, time, event and place among equal events; without a time repeats are not recognised."""
    if not event.timestamp:
        return os.urandom(_ID_BYTES).hex()
    content = (subject_of(event.user_id, event.session_id), event.item_id, event.timestamp, event.event)
    ordinal = equal[content]
    equal[content] += 1
    return hashlib.blake2b(msgspec.json.encode((*content, ordinal)), digest_size=_ID_BYTES).hexdigest()
