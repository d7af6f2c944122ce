"""What clients send about interactions and get about a user's data."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from recommender_api.requests import Context, Id
from recommender_api.values import EventName

MAX_EVENTS: Final = 100


class InteractionEvent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that a visitor did with an item; user_id or session_id must be there."""

    item_id: Annotated[Id, Meta(description="An item of the catalogue.")]
    event: Annotated[EventName, Meta(description="What was done.")]
    user_id: Annotated[Id | None, Meta(description="The shop's user id; the history is the user's if it is there.")] = (
        None
    )
    session_id: Annotated[Id | None, Meta(description="Whose history it is when there is no user id.")] = None
    event_id: Annotated[
        Id | None,
        Meta(
            description="Tells it from all others of the user or session: one that is sent again counts once. "
            "Null = one is made."
        ),
    ] = None
    timestamp: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)] | None, Meta(description="Unix seconds; missing or 0 = now.")
    ] = None
    device_type: Annotated[Id | None, Meta(description="For example mobile, desktop or tablet.")] = None
    request_id: Annotated[Id | None, Meta(description="The `request_id` in the recommendations that it answers.")] = (
        None
    )
    context: Annotated[
        Context | None, Meta(description="Where and how, by the columns that the shop declares; null = not told.")
    ] = None


Interactions = Annotated[list[InteractionEvent], Meta(min_length=1, max_length=MAX_EVENTS)] | InteractionEvent
"""Many events or one."""


class RefusedEvent(Struct, frozen=True):
    """An event that was not accepted, and why."""

    index: Annotated[int, Meta(description="Its place in the list, from 0.")]
    code: Annotated[
        Literal["invalid_event", "no_subject", "unknown_item", "in_the_future", "too_old", "too_many", "erased_user"],
        Meta(description="Stable name of the reason."),
    ]
    message: str


class InteractionsResponse(Struct, frozen=True):
    """Accepted events are durable, and the next recommendation knows them."""

    accepted: int
    duplicates: Annotated[int, Meta(description="Events whose id was accepted before; nothing changed.")]
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
    """A day of the seen filter, which can tell whether it holds an item and not which ones it holds."""

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
        list[TimedCategory], Meta(description="Of the last event's 24 hours, newest first, 200 at most.")
    ]
    seen: list[SeenDay]
    erased_at: Annotated[int | None, Meta(description="Unix seconds, 0 = not known when; null = never erased.")]
    unreadable: Annotated[list[str], Meta(description="What is stored, too, and cannot be read any more.")]
    columns: Annotated[
        dict[str, str | float | list[str | float] | None] | UnsetType,
        Meta(description="By name, what the shop's own columns of users say; left out by shops that have none."),
    ] = UNSET


class FlushedSeen(Struct, frozen=True):
    """The user's seen filter is empty."""

    user_id: str
    flushed: Annotated[bool, Meta(description="Whether there was anything to forget.")]


class ErasedUser(Struct, frozen=True):
    """Nothing is left online; tables follow."""

    user_id: str
    erased_at: Annotated[int, Meta(description="Unix seconds.")]
