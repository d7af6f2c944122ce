"""Makes a shop: raw tables, pictures and the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from contracts import columns as c
from contracts.clock import Clock, SystemClock
from contracts.errors import DataError
from contracts.files import atomic_dir
from training.simulator import pictures, tables
from training.simulator.catalogue import Catalogue, draw_catalogue
from training.simulator.choice import ChoiceModel, build_choice_model
from training.simulator.config import SimulatorConfig
from training.simulator.days import Shop, show_slates, simulate_day
from training.simulator.given import read_catalogue, read_users
from training.simulator.period import Period
from training.simulator.sessions import Sessions, draw_sessions
from training.simulator.shop import brand_effects, draw_brands, draw_effects, draw_population, draw_profiles
from training.simulator.traits import LatentSpace
from training.simulator.truth import TRUTH, Truth

LATENT = LatentSpace()
NUM_BRAND_TASTES = 2


@dataclass(frozen=True)
class SimulationSummary:
    """Facts of a simulation.

    Attributes:
        preset, size: of the config.
        num_users, num_items, num_events, num_impressions: rows of the tables.
        first_day, last_day: `YYYY-MM-DD`, shop-local.
        timezone: IANA name.
        seconds: wall-clock, writing included.
    """

    preset: str
    size: str
    num_users: int
    num_items: int
    num_events: int
    num_impressions: int
    first_day: str
    last_day: str
    timezone: str
    seconds: float


def simulate(config: SimulatorConfig, raw_dir: Path, clock: Clock | None = None) -> SimulationSummary:
    """Simulates a shop and writes its raw tables, pictures and truth to `raw_dir` in one step.

    Args:
        config: the shop.
        raw_dir: replaced if it was written by a simulation, otherwise it must not exist or be empty.
        clock: gives the present day; None = the machine's.

    Raises:
        DataError: `raw_dir` holds something else, or a given table cannot be used.
        ConfigError: the events do not fit into the period.
    """
    started = time.perf_counter()
    if raw_dir.exists() and not (raw_dir / TRUTH).is_dir() and (raw_dir.is_file() or any(raw_dir.iterdir())):
        raise DataError(f"{raw_dir} holds what no simulation wrote; choose another raw_dir or empty it")
    shop = build_shop(config, Period.of(config, clock or SystemClock()))
    sessions = draw_sessions(shop.population, shop.period, config.counts.num_events, _rng(config, 3))
    with atomic_dir(raw_dir) as folder:
        _write_shop(folder, shop, config)
        num_events, num_impressions = _write_days(folder, shop, sessions, config)
    return SimulationSummary(
        preset=config.preset,
        size=config.size,
        num_users=len(shop.population),
        num_items=len(shop.catalogue),
        num_events=num_events,
        num_impressions=num_impressions,
        first_day=shop.period.names[0],
        last_day=shop.period.names[-1],
        timezone=config.timezone,
        seconds=time.perf_counter() - started,
    )


def build_shop(config: SimulatorConfig, period: Period) -> Shop:
    """Draws items, users and their hidden tastes; given tables are read instead."""
    items_rng, users_rng, effects_rng = _rng(config, 0), _rng(config, 1), _rng(config, 2)
    if config.items_path is None:
        catalogue = draw_catalogue(config.counts.num_items, period.num_days, config.parameters, items_rng)
    else:
        catalogue = read_catalogue(config, period, items_rng)
    if config.brands and not catalogue.brands:
        catalogue = catalogue.with_brands(draw_brands(catalogue.traits.category_l1, config.brands, _rng(config, 6, 1)))
    if config.users_path is None:
        profiles = draw_profiles(config.counts.num_users, users_rng)
        user_ids = pa.array([f"u{row + 1}" for row in range(len(profiles.age))])
    else:
        user_ids, profiles = read_users(config.users_path, config.columns, users_rng)
    model = build_model(catalogue, config, period, effects_rng)
    population = draw_population(profiles, model.prior, config.drift.latent_hazard, period.num_days, users_rng)
    return Shop(period, catalogue, user_ids, population, model)


def build_model(catalogue: Catalogue, config: SimulatorConfig, period: Period, rng: np.random.Generator) -> ChoiceModel:
    """The choice model of a catalogue; brands have a random stream of their own, so that other draws do not change."""
    num_brands = len(catalogue.brands)
    latent = replace(LATENT, num_brand_tastes=NUM_BRAND_TASTES) if num_brands else LATENT
    brand = brand_effects(num_brands, latent.num_brand_tastes, config.brand_weight, _rng(config, 6, 2))
    effects = draw_effects(catalogue.traits, latent, config.drift, period.num_days, rng, brand)
    return build_choice_model(
        catalogue.traits, effects, latent, config.parameters, period.weekend, config.drift.latent_hazard
    )


def _write_shop(folder: Path, shop: Shop, config: SimulatorConfig) -> None:
    tables.write_users(folder, shop.user_ids, shop.population.profiles)
    tables.write_items(folder, shop.catalogue, shop.period)
    names = [tables.image_path(item_id) for item_id in shop.catalogue.item_ids]
    (folder / tables.IMAGES).mkdir()
    pictures.draw_pictures(folder, names, shop.catalogue.traits, shop.catalogue.price_band, config.seed)
    Truth(shop.model, shop.population.latent, shop.period, config.impressions).save(folder)


def _write_days(folder: Path, shop: Shop, sessions: Sessions, config: SimulatorConfig) -> tuple[int, int]:
    """Writes interactions and impressions; returns their numbers of rows."""
    item_ids = pa.array(shop.catalogue.item_ids, pa.string())
    interactions = tables.InteractionWriter(folder, shop.user_ids, item_ids)
    impressions = tables.ImpressionWriter(folder, shop.user_ids, item_ids)
    for day, name in enumerate(shop.period.names):
        rng = _rng(config, 4, day)
        events = simulate_day(shop, sessions, day, rng)
        interactions.write(
            name,
            user=sessions.user[events.session],
            session=events.session,
            item=events.item,
            timestamp=events.timestamp,
            device=sessions.device[events.session],
            event=rng.choice(len(c.EVENTS), len(events.item), p=tables.EVENT_PROBS),
        )
        num_slates = min(config.counts.slates_per_day, len(events.item))
        if num_slates > 0:
            shown = show_slates(shop, sessions, events, day, num_slates, config.impressions, _rng(config, 5, day))
            impressions.write(name, shown)
    return interactions.num_rows, impressions.num_rows


def _rng(config: SimulatorConfig, *stream: int) -> np.random.Generator:
    """A random stream per purpose, so that the size of one part does not change another part."""
    return np.random.default_rng([config.seed, *stream])
