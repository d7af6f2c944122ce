"""A visit to the shop: visitor, time and device, as requests to the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from recommender_client import InteractionEvent, RecommendationRequest

Kind = Literal["Known user", "New user", "Anonymous"]
KINDS: Final[tuple[Kind, ...]] = ("Known user", "New user", "Anonymous")
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
BUDGET_MS: Final = 2_000
"""Time budget of the page, longer than that of a shop: a person prefers a whole answer to a fast one."""
ASKED: Final = 100
"""Number of items to request, more than are shown, so that the previous rank of a new item is known."""


@dataclass(frozen=True)
class Visitor:
    """A visitor.

    Attributes:
        kind: a user of the tables, a user that is not known yet, or a session without a user.
        name: user id or session id.
    """

    kind: Kind
    name: str

    @property
    def user_id(self) -> str | None:
        """None for a session without a user."""
        return None if self.kind == "Anonymous" else self.name

    @property
    def session_id(self) -> str | None:
        """None for users."""
        return self.name if self.kind == "Anonymous" else None


@dataclass(frozen=True)
class Visit:
    """A visitor at a time on a device.

    Attributes:
        visitor: of the visit.
        device: for example mobile.
        weekday: 0 = Monday, in the shop's time.
        hour: 0 to 23, in the shop's time.
    """

    visitor: Visitor
    device: str
    weekday: int
    hour: int

    @property
    def scene(self) -> str:
        """Device and time in words."""
        return f"{self.device}, {WEEKDAYS[self.weekday]} {self.hour}:00"

    def request(self, now: int, timezone: str) -> RecommendationRequest:
        """The request for recommendations, with explanations.

        Args:
            now: current time of the service, Unix seconds.
            timezone: of the shop, IANA.
        """
        return RecommendationRequest(
            user_id=self.visitor.user_id,
            session_id=self.visitor.session_id,
            device_type=self.device,
            timestamp=latest(self.weekday, self.hour, now, timezone),
            k=ASKED,
            explain=True,
        )

    def interest(self, item_id: str, request_id: str | None) -> InteractionEvent:
        """A click of the visitor at the present time.

        Args:
            item_id: of the clicked item.
            request_id: of the recommendations that showed it; None = it was found in the catalogue.
        """
        return InteractionEvent(
            item_id=item_id,
            event="click",
            user_id=self.visitor.user_id,
            session_id=self.visitor.session_id,
            device_type=self.device,
            request_id=request_id,
        )


def latest(weekday: int, hour: int, now: int, timezone: str) -> int:
    """Unix seconds of an hour on the latest such weekday; if that is today, the hour may be in the future."""
    zone = ZoneInfo(timezone)
    today = datetime.fromtimestamp(now, zone)
    day = today.date() - timedelta(days=(today.weekday() - weekday) % 7)
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=zone).timestamp())
