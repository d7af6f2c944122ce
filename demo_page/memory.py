"""State of the page between two views, and the actions of its buttons."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import uuid4

from demo_page.shift import Product
from demo_page.visit import BUDGET_MS, Visit
from recommender_client import ApiError, Client, NotFoundError, RecommendationResponse, Status


def _token() -> str:
    return uuid4().hex[:8]


@dataclass
class Memory:
    """State of one browser window.

    Attributes:
        token: part of the ids of new users and sessions.
        visit: of the answers.
        before: the previous answer; None = there is nothing to compare with.
        now: the present answer.
        picked: the item in which the visitor was interested between the two.
        notice: what happened between the two, in words.
        trouble: why a button had no effect.
        acted_at: `time.perf_counter` of a press that the next answer must reflect.
        reflected_ms: milliseconds from the press to the answer.
    """

    token: str = field(default_factory=_token)
    visit: Visit | None = None
    before: RecommendationResponse | None = None
    now: RecommendationResponse | None = None
    picked: Product | None = None
    notice: str = ""
    trouble: str = ""
    acted_at: float | None = None
    reflected_ms: float | None = None

    def refresh(self, client: Client, visit: Visit, status: Status) -> None:
        """Requests a new answer if the visit changed or a button was pressed.

        Raises:
            ApiError: there is no answer; the next view tries again.
        """
        if visit == self.visit and self.acted_at is None:
            return
        answer = client.recommend(visit.request(status.now, status.bundle.timezone), budget_ms=BUDGET_MS)
        same_visitor = self.visit is not None and visit.visitor == self.visit.visitor
        if visit != self.visit:
            self.picked, self.acted_at, self.trouble = None, None, ""
            self.notice = f"Now: {visit.scene}" if same_visitor else ""
        self.reflected_ms = None if self.acted_at is None else 1_000 * (time.perf_counter() - self.acted_at)
        self.before = self.now if same_visitor else None
        self.now, self.visit, self.acted_at = answer, visit, None

    def interested(self, client: Client, visit: Visit, item: Product, request_id: str | None) -> None:
        """Records a click of the visitor on an item."""
        pressed = time.perf_counter()
        self.trouble = ""
        try:
            answer = client.record([visit.interest(item.item_id, request_id)])
        except NotFoundError as error:
            self.trouble = f"This server takes no interactions, it is older than this page: {error}"
            return
        except ApiError as error:
            self.trouble = f"The interaction was not recorded: {error}"
            return
        if answer.refused:
            self.trouble = f"The interaction was refused: {answer.refused[0].message}"
            return
        self.picked, self.acted_at = item, pressed
        self.notice = f"Interested in “{item.title or item.item_id}”"

    def reset(self, client: Client, visit: Visit) -> None:
        """Empties the seen filter of a known user; replaces a new user or a session by another one."""
        self.trouble = ""
        if visit.visitor.kind != "Known user":
            self.token = _token()
            return
        try:
            client.flush_seen(visit.visitor.name)
        except ApiError as error:
            self.trouble = f"Seen items were not forgotten: {error}"
            return
        self.picked, self.acted_at = None, time.perf_counter()
        self.notice = f"Seen items of {visit.visitor.name} are forgotten, they may be recommended again"
