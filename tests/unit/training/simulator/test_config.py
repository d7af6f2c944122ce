from __future__ import annotations

import pytest

from contracts.config import validate
from contracts.errors import ConfigError
from training.simulator.config import PRESETS, SIZES, SimulatorConfig


def test_presets_are_the_stated_ones() -> None:
    easy, hard = PRESETS["easy"], PRESETS["hard"]
    assert (easy.uniform_share, easy.similar_share, easy.num_similar) == (0.05, 0.45, 12)
    assert (easy.popularity_slope, easy.persona_weight) == (0.9, 0.85)
    assert (hard.uniform_share, hard.similar_share, hard.num_similar) == (0.10, 0.35, 40)
    assert (hard.popularity_slope, hard.persona_weight) == (0.7, 0.65)


def test_sizes_are_the_stated_ones() -> None:
    stated = {name: (size.num_users, size.num_items, size.num_events) for name, size in SIZES.items()}
    assert stated == {
        "debug": (500, 300, 15_000),
        "demo": (6_000, 2_500, 250_000),
        "reference": (300_000, 2_465, 13_000_000),
    }


def test_overrides_replace_only_what_they_name() -> None:
    counts = SimulatorConfig(size="debug", num_users=7, impressions={"slates_per_day": 0}).counts
    assert (counts.num_users, counts.num_items, counts.num_events, counts.slates_per_day) == (7, 300, 15_000, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": 1}, "unknown key 'colour'; legal keys: .*preset"),
        ({"items_path": "a", "num_items": 20}, "num_items=20 with items_path=a: take one of the two"),
        ({"users_path": "a", "num_users": 20}, "num_users=20 with users_path=a: take one of the two"),
        ({"columns": {"name": "title"}}, r"columns renames \['name'\], expected raw columns among"),
        (
            {"columns": {"brand": "maker"}},
            "columns.brand=maker with brands=0, which ignores it: set brands",
        ),
        ({"num_days": 1}, "num_days: .*greater than or equal to 2.*got 1"),
    ],
)
def test_impossible_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(SimulatorConfig, values, source="test")
