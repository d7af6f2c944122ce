from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from contracts.clock import SimulatedClock
from contracts.errors import ConfigError
from ray_apps.jobs.config import JobConfig, load_job_config

CONFIGS = Path(__file__).resolve().parents[4] / "configs" / "jobs"
NOW = 1_768_400_000  # 2026-01-14, 14:13 UTC


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    assert load_job_config(path).simulator is not None


def test_the_reference_recipe_settles_every_option_of_the_models() -> None:
    config = load_job_config(CONFIGS / "reference.yaml")
    assert config.two_tower.model.history_length == config.ranker.model.history_length == 0
    assert not config.refit
    without_history = {"history_days", "history_dim", "history_heads", "transformer"}
    sections = (config.two_tower.model, config.two_tower.negatives, config.ranker.model, config.ranker.objective)
    for section in sections:
        left_open = set(type(section).model_fields) - section.model_fields_set - without_history
        assert not left_open, f"{type(section).__name__}: {left_open} would follow our defaults"


def test_shared_values_reach_every_section_and_a_section_may_differ() -> None:
    values = {"simulator": {"seed": 3}, "seed": 7, "timezone": "Europe/Berlin", "shop": "mine", "var_dir": "/data"}
    config = JobConfig.model_validate(values)
    assert config.simulator is not None
    assert (config.simulator.seed, config.preprocess.seed, config.two_tower.seed, config.evaluation.seed) == (
        3,
        7,
        7,
        7,
    )
    assert config.simulator.timezone == config.preprocess.timezone == "Europe/Berlin"
    assert config.stores.shop == "mine"
    assert config.stores.feast_dir == Path("/data/feast")
    assert config.stores.embedded.data_dir == Path("/data/redis")


def test_an_open_start_date_is_settled_in_the_shops_days() -> None:
    values = {"simulator": {"num_days": 14}, "timezone": "Pacific/Auckland"}  # there it is 2026-01-15 already
    config = JobConfig.model_validate(values).with_dates(SimulatedClock(NOW))
    assert config.simulator is not None
    assert config.simulator.start_date == date(2026, 1, 1)
    assert config.with_dates(SimulatedClock(0)) == config


def test_given_tables_need_no_simulator(tmp_path: Path) -> None:
    config = JobConfig.model_validate({"raw_dir": tmp_path, "simulator": None})
    assert config.with_dates(SimulatedClock(NOW)) == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["ranker.mlp.history_days=7"], r"two_tower.model.history_days=30 differs from ranker.mlp.history_days=7"),
        (
            ["ranker.ranker=dlrm", "ranker.model.history_days=7"],
            r"two_tower.model.history_days=30 differs from ranker.model.history_days=7",
        ),
        (["stores.history_length=8"], r"stores.history_length=8 is below the models' history_length=64"),
        (["stores.history_days=20"], r"stores.history_days=20 is below the models' history_days=30; raise it"),
        (["shop=My-Shop"], r"shop: String should match pattern"),
        (
            ["features.columns=[{name: d, side: item, kind: categorical, column: description}]"],
            "description is not a feature",
        ),
        (
            ["features.columns=[{name: mask, side: query, kind: categorical, source: context}]"],
            "interactions.mask: ",
        ),
        (
            ["features.columns=[{name: pair, side: pair, kind: numeric}]"],
            "pair has side=pair, but raw tables hold no",
        ),
        (
            ["features.columns=[{name: max_price, side: item, kind: numeric, filter: true}]"],
            "items.max_price: the name is taken by another column",
        ),
        (
            ["features.preset=none", "features.columns=[{name: top_category, side: query, kind: categorical}]"],
            "users.top_category: the name is taken by another column",
        ),
        (
            [
                "features={preset: none, columns: [{name: a, side: query, kind: categorical}, "
                "{name: b, side: item, kind: numeric}]}",
                "ranker.ranker=dlrm",
                "ranker.model.price_in_bottom=true",
            ],
            r"price_in_bottom=true mixes the numbers of query and item, the features have \[\] and \['b'\]; set it",
        ),
        (
            ["features={preset: none, columns: []}"],
            "features: two-tower and ranker need features of items and of queries; take",
        ),
        (
            ["preprocess.columns={items: {name: title}}"],
            "preprocess.columns: unknown column 'name' of items; legal",
        ),
        (["two_tower.model.histroy_days=7"], r"unknown key 'two_tower.model.histroy_days'; legal keys: .*history_days"),
    ],
)
def test_impossible_combinations_name_both_settings(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_job_config(CONFIGS / "debug.yaml", overrides)
