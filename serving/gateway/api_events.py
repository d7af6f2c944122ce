"""What clients send about interactions and get about a user's data, once; `api` has everything else."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from serving.gateway.api import Id

INTERACTIONS_PATH: Final = "/v1/interactions"
MAX_EVENTS: Final = 100


class InteractionEvent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that a visitor did with an item; user_id or session_id must be there."""

    item_id: Annotated[Id, Meta(description="An item of the catalogue.")]
    event: Annotated[Literal["view", "click", "cart", "purchase"], Meta(description="What was done.")]
    user_id: Annotated[Id | None, Meta(description="The shop's user id; the history is the user's if it is there.")] = (
        None
    )
    session_id: Annotated[Id | None, Meta(description="Whose history it is when there is no user id.")] = None
    event_id: Annotated[
        Id | None,
        Meta(description="Tells it from all others: an event that is sent again counts once. Null = one is made."),
    ] = None
    timestamp: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)] | None, Meta(description="Unix seconds; missing or 0 = now.")
    ] = None
    device_type: Annotated[Id | None, Meta(description="For example mobile, desktop or tablet.")] = None
    request_id: Annotated[Id | None, Meta(description="Of the recommendations that it answers.")] = None


Interactions = Annotated[list[InteractionEvent], Meta(min_length=1, max_length=MAX_EVENTS)] | InteractionEvent
"""Many events or one."""


class RefusedEvent(Struct, frozen=True):
    """An event that was not accepted, and why."""

    index: Annotated[int, Meta(description="Its place in the list, from 0.")]
    code: Annotated[
        Literal["invalid_event", "no_subject", "unknown_item", "in_the_future", "too_old", "erased_user"],
        Meta(description="Stable name of the reason."),
    ]
    message: str


class InteractionsResponse(Struct, frozen=True):
    """Accepted events are durable, and the next recommendation knows them."""

    accepted: int
    duplicates: Annotated[int, Meta(description="Events whose id was accepted before; nothing changed.")]
    refused: list[RefusedEvent]
