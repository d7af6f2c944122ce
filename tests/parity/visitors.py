"""What is asked of every placement: requests of all kinds, written out and drawn."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tests.fixtures.served_bundle import NOW

Asking = tuple[str, dict[str, Any]]
"""Path and body."""
RECOMMEND, RANK = "/v1/recommendations", "/v1/rankings"
_NUM_DRAWN: Final = 200
_ITEMS: Final = [*(f"i{number}" for number in range(1, 41)), "unknown"]
_ORDERS: Final = ("greedy", "sampled", "weighted")


def all_visitors() -> list[Asking]:
    """40 requests written out and 200 drawn; those for recommendations first."""
    return sorted(visitors() + drawn_visitors(), key=lambda asking: asking[0] == RANK)


def visitors() -> list[Asking]:
    """32 requests for recommendations of all kinds and 8 for rankings."""
    kinds: list[dict[str, Any]] = [
        {"user_id": "u1", "device_type": "mobile"},
        {"user_id": "u2", "device_type": "desktop", "timestamp": NOW - 7 * 3600},
        {"user_id": "u3", "recent_items": ["i9", "i4"]},
        {"user_id": "nobody"},
        {"session_id": "s1"},
        {"session_id": "s1", "user_id": "u1"},
        {"recent_items": ["i2"], "device_type": "tablet"},
        {},
    ]
    wishes: list[dict[str, Any]] = [
        {"k": 5},
        {"k": 36, "exclude": ["i4", "i40", "unknown"], "filters": {"category_l1": ["books", "toys"], "max_price": 30}},
        {"k": 67, "explain": True, "diversity": {"order": "sampled", "temperature": 2.5, "epsilon": 0.1}},
        {"k": 9, "explain": True, "seed": 3, "diversity": {"order": "weighted", "mmr": 0.4, "max_per_category_l1": 2}},
    ]
    recommendations = [(RECOMMEND, kind | wish) for wish in wishes for kind in kinds]
    given = [f"i{number}" for number in (*range(40, 0, -3), 99)]
    rankings = [
        (RANK, kind | {"candidate_ids": given, "exclude": ["i1"], "explain": True, "diversity": {"mmr": 0.3}})
        for kind in kinds
    ]
    return recommendations + rankings


def drawn_visitors() -> list[Asking]:
    """200 requests whose every field is drawn, a quarter of them for rankings; always the same ones."""
    rng = np.random.default_rng(0)
    return [_drawn(rng) for _ in range(_NUM_DRAWN)]


def _drawn(rng: np.random.Generator) -> Asking:
    def some(most: int) -> list[str]:
        return [str(item) for item in rng.choice(_ITEMS, rng.integers(1, most + 1), replace=False)]

    def maybe(share: float) -> bool:
        return bool(rng.random() < share)

    body: dict[str, Any] = {"seed": int(rng.integers(2**40))} if maybe(0.5) else {}
    if maybe(0.7):
        body["user_id"] = str(rng.choice(["u1", "u2", "u3", "u4", "nobody"]))
    if maybe(0.4):
        body["session_id"] = str(rng.choice(["s1", "s2"]))
    if maybe(0.6):
        body["device_type"] = str(rng.choice(["mobile", "desktop", "tablet", "fridge"]))
    if maybe(0.3):
        body["timestamp"] = NOW - int(rng.integers(13 * 86_400))
    if maybe(0.4):
        body["recent_items"] = some(6)
    if maybe(0.4):
        body["exclude"] = some(12)
    if maybe(0.4):
        body["filters"] = _filters(rng)
    if maybe(0.5):
        body["diversity"] = _diversity(rng)
    body["explain"] = maybe(0.7)
    if maybe(0.25):
        return RANK, body | {"candidate_ids": some(30)}
    return RECOMMEND, body | {"k": int(rng.integers(1, 41))}


def _filters(rng: np.random.Generator) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    for name, values in (("category_l1", ["books", "shoes", "toys"]), ("category_l2", "ab"), ("gender", ["F", "Any"])):
        if rng.random() < 0.4:
            filters[name] = [str(value) for value in rng.choice(list(values), rng.integers(1, 3), replace=False)]
    if rng.random() < 0.4:
        filters["min_price"] = float(rng.integers(1, 15))
    if rng.random() < 0.4:
        filters["max_price"] = float(rng.integers(15, 40))
    return filters


def _diversity(rng: np.random.Generator) -> dict[str, Any]:
    diversity: dict[str, Any] = {"order": str(rng.choice(_ORDERS))} if rng.random() < 0.7 else {}
    if rng.random() < 0.5:
        diversity["temperature"] = float(rng.choice([0.1, 1.0, 3.0]))
    for name, values in (("epsilon", (0.0, 0.2)), ("mmr", (0.0, 0.5)), ("max_per_category_l1", (1, 5))):
        if rng.random() < 0.3:
            drawn = rng.choice(values)
            diversity[name] = int(drawn) if isinstance(values[0], int) else float(drawn)
    return diversity
