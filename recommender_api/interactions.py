"""Interactions that clients send, and answers about a user's data."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from recommender_api.requests import Context, Id
from recommender_api.values import EventName

MAX_EVENTS: Final = 100


class InteractionEvent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An interaction of a visitor with an item; needs a user_id or a session_id."""

    item_id: Annotated[Id, Meta(description="An item of the catalogue.")]
    event: Annotated[EventName, Meta(description="What was done.")]
    user_id: Annotated[
        Id | None, Meta(description="The shop's user id; the event then belongs to the user's history.")
    ] = None
    session_id: Annotated[Id | None, Meta(description="Owner of the history when there is no user id.")] = None
    event_id: Annotated[
        Id | None,
        Meta(
            description="Unique within the user or session; an event that is sent again counts once. "
            "Null = the service makes one."
        ),
    ] = None
    timestamp: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)] | None, Meta(description="Unix seconds; missing or 0 = now.")
    ] = None
    device_type: Annotated[Id | None, Meta(description="For example mobile, desktop or tablet.")] = None
    request_id: Annotated[Id | None, Meta(description="The `request_id` of the recommendations that led to it.")] = None
    context: Annotated[
        Context | None, Meta(description="Values of declared context columns, by name; null = unknown.")
    ] = None


Interactions = Annotated[list[InteractionEvent], Meta(min_length=1, max_length=MAX_EVENTS)] | InteractionEvent
"""A list of events, or one event."""


class RefusedEvent(Struct, frozen=True):
    """An event that was not accepted, and why."""

    index: Annotated[int, Meta(description="Index in the list, from 0.")]
    code: Annotated[
        Literal["invalid_event", "no_subject", "unknown_item", "in_the_future", "too_old", "too_many", "erased_user"],
        Meta(description="Stable name of the reason."),
    ]
    message: str


class InteractionsResponse(Struct, frozen=True):
    """Accepted events are durable and in the history of the next recommendation."""

    accepted: int
    duplicates: Annotated[int, Meta(description="Events with an id that was accepted before; they change nothing.")]
    refused: list[RefusedEvent]


class TimedItem(Struct, frozen=True):
    """An interaction with an item."""

    item_id: str
    timestamp: int


class TimedCategory(Struct, frozen=True):
    """An interaction with an item of a category."""

    category_l1: str | None
    timestamp: int


class SeenDay(Struct, frozen=True):
    """A day of the seen filter; the filter can test items but not list them."""

    day: Annotated[str, Meta(description="YYYY-MM-DD, the shop's.")]
    num_items: int


class UserData(Struct, frozen=True):
    """What the online stores hold about a user."""

    user_id: str
    known: Annotated[bool, Meta(description="Whether the feature store has the user.")]
    age: float | None
    gender: str | None
    top_category: str | None
    top_category_long: str | None
    recent_items: Annotated[list[TimedItem], Meta(description="Newest first.")]
    recent_categories: Annotated[
        list[TimedCategory], Meta(description="Of the 24 hours up to the last event, newest first, at most 200.")
    ]
    seen: list[SeenDay]
    erased_at: Annotated[int | None, Meta(description="Unix seconds, 0 = at an unknown time; null = never erased.")]
    unreadable: Annotated[list[str], Meta(description="Stored parts that cannot be read.")]
    columns: Annotated[
        dict[str, str | float | list[str | float] | None] | UnsetType,
        Meta(description="Values of the user columns that the shop declares, by name; absent if it declares none."),
    ] = UNSET


class FlushedSeen(Struct, frozen=True):
    """The user's seen filter is empty."""

    user_id: str
    flushed: Annotated[bool, Meta(description="Whether the filter held anything.")]


class ErasedUser(Struct, frozen=True):
    """The online data of a user is erased; tables follow."""

    user_id: str
    erased_at: Annotated[int, Meta(description="Unix seconds.")]
