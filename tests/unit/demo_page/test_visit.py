"""Visits as the API takes them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from demo_page.visit import Visit, Visitor, latest
from recommender_client import InteractionEvent, RecommendationRequest

NOW = int(datetime(2026, 1, 14, 14, 30, tzinfo=UTC).timestamp())  # a Wednesday


@pytest.mark.parametrize(
    ("weekday", "hour", "timezone", "expected"),
    [
        (2, 14, "UTC", datetime(2026, 1, 14, 14, tzinfo=UTC)),
        (2, 23, "UTC", datetime(2026, 1, 14, 23, tzinfo=UTC)),
        (1, 9, "UTC", datetime(2026, 1, 13, 9, tzinfo=UTC)),
        (3, 9, "UTC", datetime(2026, 1, 8, 9, tzinfo=UTC)),
        (2, 9, "Europe/Berlin", datetime(2026, 1, 14, 8, tzinfo=UTC)),
        (3, 1, "Pacific/Auckland", datetime(2026, 1, 14, 12, tzinfo=UTC)),  # there it is Thursday already, UTC+13
    ],
)
def test_the_latest_such_hour(weekday: int, hour: int, timezone: str, expected: datetime) -> None:
    assert datetime.fromtimestamp(latest(weekday, hour, NOW, timezone), UTC) == expected


def test_a_users_request_and_event() -> None:
    visit = Visit(Visitor("Known user", "u1"), "tablet", 1, 9)
    timestamp = int(datetime(2026, 1, 13, 9, tzinfo=UTC).timestamp())
    assert visit.request(NOW, "UTC") == RecommendationRequest(
        user_id="u1", device_type="tablet", timestamp=timestamp, k=100, explain=True
    )
    assert visit.interest("i1", "r1") == InteractionEvent(
        item_id="i1", event="click", user_id="u1", device_type="tablet", request_id="r1"
    )
    assert visit.scene == "tablet, Tuesday 9:00"


def test_a_session_has_no_user_id() -> None:
    visit = Visit(Visitor("Anonymous", "session-1"), "mobile", 2, 14)
    request, event = visit.request(NOW, "UTC"), visit.interest("i1", None)
    assert (request.user_id, request.session_id) == (None, "session-1")
    assert (event.user_id, event.session_id, event.request_id) == (None, "session-1", None)
