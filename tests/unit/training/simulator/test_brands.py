"""Brands: what they do to choices, and that a shop without them is what it was before there were any."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.unit.training.simulator.conftest import START
from tests.unit.training.simulator.tiny import TWO_BRAND_TASTES, tiny_shop
from training.simulator import Oracle, OracleEvents, SimulatorConfig, Variant, simulate
from training.simulator.choice import ChoiceModel
from training.simulator.period import Period
from training.simulator.shop import brand_effects, draw_brands
from training.simulator.simulate import NUM_BRAND_TASTES, build_shop
from training.simulator.truth import Truth

WITHOUT_BRANDS = {
    "users": "a1bdbd9eb2926ce8",
    "items": "0db9708d6cd3a64b",
    "interactions": "acb51cd022603bf0",
    "impressions": "719309d554e5fa50",
}
"""Of `debug_raw`, from before there were brands: the first digits of `digest`."""


def digest(folder: Path) -> str:
    """Of a table's values; floats to six digits, since exp and log differ in the last one from machine to machine."""
    columns = ds.dataset(folder, partitioning="hive").to_table().to_pydict()
    rounded = {
        name: [round(value, 6) if isinstance(value, float) else value for value in values]
        for name, values in columns.items()
    }
    return hashlib.sha256(repr(rounded).encode()).hexdigest()[:16]


@pytest.fixture(scope="module")
def branded_config(debug_config: SimulatorConfig) -> SimulatorConfig:
    return debug_config.model_copy(update={"brands": 8})


@pytest.fixture(scope="module")
def branded_raw(branded_config: SimulatorConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("branded") / "raw"
    simulate(branded_config, raw)
    return raw


@pytest.mark.parametrize("name", WITHOUT_BRANDS)
def test_without_brands_every_table_is_what_it_was(debug_raw: Path, name: str) -> None:
    assert digest(debug_raw / name) == WITHOUT_BRANDS[name]


def test_brands_disturb_nothing_that_does_not_hang_on_them(debug_raw: Path, branded_raw: Path) -> None:
    items, before = (pq.read_table(raw / "items") for raw in (branded_raw, debug_raw))
    assert items.drop_columns("brand").equals(before)
    assert pq.read_table(branded_raw / "users").equals(pq.read_table(debug_raw / "users"))
    with_brands, without = Truth.open(branded_raw), Truth.open(debug_raw)
    assert (with_brands.latent // NUM_BRAND_TASTES == without.latent).all()
    for name in ("launched", "category_probs", "neighbours", "neighbour_probs"):
        np.testing.assert_array_equal(getattr(with_brands.model, name), getattr(without.model, name))
    assert "brand" not in before.column_names


def test_same_seed_same_brands_other_seed_other_brands(branded_config: SimulatorConfig, branded_raw: Path) -> None:
    period = Truth.open(branded_raw).period
    written = pq.read_table(branded_raw / "items")["brand"].to_pylist()
    assert build_shop(branded_config, period).catalogue.brand == written
    other = build_shop(branded_config.model_copy(update={"seed": 4}), period)
    assert np.mean(np.array(other.catalogue.brand) == written) < 0.5


def test_sizes_are_uneven_and_differ_by_category() -> None:
    category = np.repeat(np.arange(5), 2_000)
    brands = np.array(draw_brands(category, 10, np.random.default_rng(0)))
    names, sizes = np.unique(brands, return_counts=True)
    assert names.tolist() == [f"brand_{row:02}" for row in range(1, 11)]
    assert sizes.max() > 5 * sizes.min()
    most_common = [max(set(part), key=part.count) for part in brands.reshape(5, -1).tolist()]
    assert len(set(most_common)) > 1


def test_nothing_that_an_item_shows_tells_its_brand(branded_raw: Path) -> None:
    """Within a category, brands go with price, taste or launch no more than chance has it."""
    shop = build_shop(
        SimulatorConfig(size="debug", num_items=4_000, brands=5), Period(20_517, num_days=14, timezone="UTC")
    )
    traits = shop.catalogue.traits
    by_category = np.unique(traits.category_l1 * 5 + traits.brand, return_inverse=True)[1]
    for values in (traits.price_z, traits.taste == 0, traits.popularity, traits.gender == 2):
        group_mean = (np.bincount(by_category, values) / np.bincount(by_category))[by_category]
        category_mean = (np.bincount(traits.category_l1, values) / np.bincount(traits.category_l1))[traits.category_l1]
        num_free = len(np.unique(by_category)) - len(np.unique(traits.category_l1))
        between = ((group_mean - category_mean) ** 2).sum() / num_free
        within = ((values - group_mean) ** 2).sum() / (len(values) - len(np.unique(by_category)))
        assert between / within < 1 + 4 * np.sqrt(2 / num_free)
    shown = pq.read_table(branded_raw / "items").select(["title", "description", "image_path"]).to_pylist()
    assert "brand" not in repr(shown).lower()


def test_each_taste_likes_one_hand_of_brands_and_dislikes_the_next() -> None:
    effects = brand_effects(8, 4, 1.5, np.random.default_rng(0))
    assert effects.shape == (4, 9)
    assert (effects == 1.5).sum(axis=1).tolist() == [2] * 4
    assert (effects == -1.5).sum(axis=1).tolist() == [2] * 4
    assert not effects.sum(axis=0).any()
    assert not effects[:, 8].any()
    np.testing.assert_array_equal(effects < 0, np.roll(effects > 0, -1, axis=0))
    assert brand_effects(0, 1, 1.5, np.random.default_rng(0)).tolist() == [[0.0]]


def test_the_effect_in_a_choice_by_hand() -> None:
    """Items 3 and 4 are category 1. The odds of item 4 against item 3 change by exp(0.8) twice, up and down."""
    shop, _ = tiny_shop(TWO_BRAND_TASTES, hazard=0.0, num_users=1)
    odds = shop.model.within[2, 2, :, 4] / shop.model.within[2, 2, :, 3]
    # Brand 0 (item 4): +0.8 and -0.8; brand 1 (item 3): -0.8 and +0.8.
    assert odds[0] / odds[1] == pytest.approx(np.exp(4 * 0.8))
    # Item 2 has no brand: against item 0 of brand 0 the odds change by exp(0.8) once, up and down.
    odds = shop.model.within[2, 2, :, 0] / shop.model.within[2, 2, :, 2]
    assert odds[0] / odds[1] == pytest.approx(np.exp(2 * 0.8))


def top_ten(oracle: Oracle, events: OracleEvents, variant: Variant) -> tuple[np.ndarray, np.ndarray]:
    """The ten best items of each event [T, 10] and all probabilities [T, N]."""
    probs = np.zeros((len(events), len(oracle.item_ids)))
    for rows, scores in oracle.scores(events, variant):
        probs[rows] = np.where(np.isfinite(scores), scores, 0)
    return np.argpartition(-probs, 10, axis=1)[:, :10], probs


def blind_to_brands(model: ChoiceModel) -> ChoiceModel:
    """A model that knows how often each item is chosen, but not that tastes differ by brand."""
    num_days, num_genders, num_styles, num_items = model.within.shape
    shape = (num_days, num_genders, num_styles // NUM_BRAND_TASTES, NUM_BRAND_TASTES, num_items)
    prior = model.prior.reshape(*model.prior.shape[:2], -1, NUM_BRAND_TASTES).sum(axis=-1)
    return replace(model, within=model.within.reshape(shape).mean(axis=3), prior=prior)


def test_the_oracle_knows_the_brand_tastes_and_nothing_beats_it(branded_raw: Path) -> None:
    """Lists are judged by the true probabilities of their items, with each user's class told."""
    oracle = Oracle.open(branded_raw)
    days = oracle.truth.period.names[-6:]
    events = oracle.find([name for day in days for name in oracle.sample(day).event_ids])
    _, truth = top_ten(oracle, events, Variant.TRUE_LATENT)
    best, believed = top_ten(oracle, events, Variant.FULL)
    oracle.truth = replace(oracle.truth, model=blind_to_brands(oracle.truth.model))
    blind, _ = top_ten(oracle, events, Variant.FULL)
    popular = np.tile(np.argsort(-truth.mean(axis=0))[:10], (len(events), 1))
    mass = np.take_along_axis(truth, best, axis=1).sum(axis=1)
    expected = np.take_along_axis(believed, best, axis=1).sum(axis=1)
    assert abs(mass.mean() - expected.mean()) < 4 * (mass - expected).std() / np.sqrt(500)  # 500 users
    for rival in (blind, popular):
        loss = mass - np.take_along_axis(truth, rival, axis=1).sum(axis=1)
        assert loss.mean() > 4 * loss.std() / np.sqrt(500)


def test_brands_explain_a_quarter_of_what_moves_choices_within_a_category() -> None:
    config = SimulatorConfig(size="demo", brands=20, start_date=START)
    with_brands, without = (
        build_shop(config.model_copy(update={"brand_weight": weight}), Period(20_517, num_days=2, timezone="UTC"))
        for weight in (config.brand_weight, 0.0)
    )
    launched = with_brands.model.launched[0]
    category = with_brands.catalogue.traits.category_l1[launched]

    def variance(values: np.ndarray) -> float:
        """Of values [.., N] within categories, mean over everything before the items."""
        parts = [values[..., category == one].var(axis=-1).mean() * (category == one).sum() for one in set(category)]
        return float(sum(parts) / len(category))

    log, plain = (np.log(shop.model.within[0][..., launched]) for shop in (with_brands, without))
    assert 0.2 < variance(log - plain) / variance(log) < 0.3
