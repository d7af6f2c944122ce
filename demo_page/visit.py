"""Who visits the shop, when and from where, as the API takes it."""

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
"""A person who looks on waits so long for a whole answer; a shop's own page has less."""
ASKED: Final = 100
"""Items that are asked for, whatever is shown: a newcomer's former rank is known, too."""


@dataclass(frozen=True)
class Visitor:
    """Somebody.

    Attributes:
        kind: a user of the tables, one that nobody knows yet, or a session without a user.
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
        visitor: who.
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
        """The request for its recommendations, with explanations.

        Args:
            now: the service's now, Unix seconds.
            timezone: the shop's, IANA.
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
        """A click of the visitor, now.

        Args:
            item_id: on what.
            request_id: of the recommendations that it answers; None = it was found in the catalogue.
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
    """Unix seconds of the given hour on the latest such weekday, today included: there it may lie hours ahead."""
    zone = ZoneInfo(timezone)
    today = datetime.fromtimestamp(now, zone)
    day = today.date() - timedelta(days=(today.weekday() - weekday) % 7)
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=zone).timestamp())
