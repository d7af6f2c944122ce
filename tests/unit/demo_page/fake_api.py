"""The API as the page sees it, at the edge of HTTP: what was clicked is gone, and its category comes first."""

from __future__ import annotations

import json
from typing import Any

import httpx

from recommender_client import Client, Retry

NOW = 1_768_400_000  # 2026-01-14, a Wednesday
CATEGORIES = ("books", "shoes", "toys")
NUM_ITEMS = 30
BUNDLE = {
    "version": "b7",
    "shop": "tiny",
    "created": "2026-01-14",
    "first_day": "2026-01-01",
    "last_day": "2026-01-14",
    "timezone": "UTC",
    "num_items": NUM_ITEMS,
    "missing": [],
    "warnings": [],
}


def product(number: int) -> dict[str, Any]:
    """Item i<number> of category number % 3."""
    item_id = f"i{number}"
    return {
        "item_id": item_id,
        "title": f"Item {number}",
        "category_l1": CATEGORIES[number % 3],
        "category_l2": "a",
        "gender": None,
        "price": float(number),
        "image_url": f"/v1/items/{item_id}/image" if number == 1 else None,
    }


class FakeApi:
    """Answers the page's calls; `events` and `flushed` tell what it was told, `broken` gives paths their errors."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.budgets_ms: list[str | None] = []
        self.events: list[dict[str, Any]] = []
        self.flushed: list[str] = []
        self.broken: dict[str, httpx.Response] = {}
        self.down = False

    def client(self) -> Client:
        """A client of it."""
        return Client("http://shop", transport=httpx.MockTransport(self._answer), retry=Retry(attempts=1))

    def refuse(self, path: str, status: int, code: str, message: str) -> None:
        """From now on the path answers with an error."""
        self.broken[path] = httpx.Response(status, json={"error": {"code": code, "message": message, "details": {}}})

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        path = request.url.path
        if path in self.broken:
            return self.broken[path]
        if path == "/v1/status":
            status = {"ready": True, "bundle": BUNDLE, "placement": "here", "now": NOW, "stores": {}, "degraded": []}
            return httpx.Response(200, json=status)
        if path == "/v1/recommendations":
            self.budgets_ms.append(request.headers.get("x-budget-ms"))
            return httpx.Response(200, json=self._recommend(json.loads(request.content)))
        if path == "/v1/interactions":
            self.events += json.loads(request.content)
            return httpx.Response(202, json={"accepted": 1, "duplicates": 0, "refused": []})
        if path == "/v1/items":
            return httpx.Response(200, json=self._page(dict(request.url.params)))
        if path.endswith("/image"):
            return httpx.Response(200, content=b"\x89PNG", headers={"content-type": "image/png"})
        if path.endswith("/seen"):
            user_id = path.split("/")[-2]
            self.flushed.append(user_id)
            return httpx.Response(200, json={"user_id": user_id, "flushed": True})
        return httpx.Response(404, json={"error": {"code": "not_found", "message": f"no path {path!r}"}})

    def _recommend(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(asked)
        subject = asked.get("user_id") or asked["session_id"]
        clicked = [e["item_id"] for e in self.events if subject in {e.get("user_id"), e.get("session_id")}]
        liked = {int(item_id[1:]) % 3 for item_id in clicked}
        gone = set() if subject in self.flushed else set(clicked)
        numbers = [number for number in range(NUM_ITEMS) if f"i{number}" not in gone]
        numbers.sort(key=lambda number: number % 3 not in liked)
        items = [{**product(number), "rank": rank, "score": 1 / rank} for rank, number in enumerate(numbers, start=1)]
        explained = {
            "num_retrieved": NUM_ITEMS,
            "removed": {"seen": len(gone)},
            "num_ranked": len(numbers),
            "seed": None,
            "stage_ms": {"retrieval": 1.5, "ranking": 2.5},
        }
        head = {"request_id": f"r{len(self.requests)}", "user_id": asked.get("user_id"), "bundle_version": "b7"}
        return {**head, "degraded": [], "recommendations": items, "explanation": explained}

    def _page(self, query: dict[str, str]) -> dict[str, Any]:
        low, high = float(query.get("min_price", 0)), float(query.get("max_price", NUM_ITEMS))
        wanted = [
            number
            for number in range(NUM_ITEMS)
            if query.get("category_l1") in {None, CATEGORIES[number % 3]}
            and query.get("text", "").lower() in product(number)["title"].lower()
            and low <= number <= high
        ]
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 20))
        rest = {"description": None, "launched_at": None, "available": True}
        items = [{**product(number), **rest} for number in wanted[offset : offset + limit]]
        return {"total": len(wanted), "offset": offset, "limit": limit, "items": items}
