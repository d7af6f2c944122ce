"""One simulated day: the choices of its sessions and the slates shown meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from contracts.ids import BoolArray, IntArray, LongArray
from training.simulator.catalogue import Catalogue
from training.simulator.choice import ChoiceModel
from training.simulator.config import ImpressionsConfig
from training.simulator.impressions import click_probs, draw_clicks, draw_slates
from training.simulator.observed import observe
from training.simulator.period import Period
from training.simulator.posterior import ALL, likelihood
from training.simulator.sampling import Choosers, sample_items
from training.simulator.sessions import Sessions, event_times
from training.simulator.shop import Population
from training.simulator.tables import ShownSlates


@dataclass(frozen=True)
class Shop:
    """A drawn or given shop before its first day."""

    period: Period
    catalogue: Catalogue
    user_ids: pa.Array
    population: Population
    model: ChoiceModel


@dataclass(frozen=True)
class DayEvents:
    """One day's events by timestamp; all arrays are [E].

    Attributes:
        session: row of the sessions.
        item: row of the catalogue.
        timestamp: Unix seconds.
    """

    session: LongArray
    item: IntArray
    timestamp: LongArray


def simulate_day(shop: Shop, sessions: Sessions, day: int, rng: np.random.Generator) -> DayEvents:
    """Draws the choices of a day's sessions.

    Args:
        shop: the shop.
        sessions: all sessions of the period.
        day: days after the first day.
        rng: of this day.
    """
    low, high = np.searchsorted(sessions.day, [day, day + 1])
    today = sessions.take(slice(low, high))
    profiles = shop.population.profiles
    choosers = Choosers(
        age_bin=profiles.age_bin[today.user],
        gender=profiles.gender[today.user],
        context=today.context,
        latent=shop.population.latent_on(day)[today.user],
        length=today.length,
    )
    items = sample_items(shop.model, day, choosers, rng)
    happened: BoolArray = items >= 0
    times = event_times(today, rng)[:, : items.shape[1]][happened]
    order = np.argsort(times, kind="stable")
    session = low + np.nonzero(happened)[0]
    return DayEvents(session[order], items[happened][order], times[order])


def show_slates(
    shop: Shop,
    sessions: Sessions,
    events: DayEvents,
    day: int,
    num_slates: int,
    config: ImpressionsConfig,
    rng: np.random.Generator,
) -> ShownSlates:
    """Shows slates at a random sample of a day's events, ordered by time, and draws the clicks.

    Args:
        shop: the shop.
        sessions: all sessions of the period.
        events: of that day.
        day: days after the first day.
        num_slates: at most the number of events.
        config: the policy and how users click.
        rng: of this day.
    """
    anchors = np.sort(rng.choice(len(events.item), num_slates, replace=False))
    # Only the sessions with a slate are needed for the state at the slates.
    rows = np.flatnonzero(np.isin(events.session, events.session[anchors]))
    rows = rows[np.lexsort((events.timestamp[rows], sessions.user[events.session[rows]]))]
    session = events.session[rows]
    steps = observe(
        shop.population.profiles,
        shop.period.calendar,
        shop.period.first_day,
        user=sessions.user[session],
        timestamp=events.timestamp[rows],
        device=sessions.device[session],
        item=events.item[rows],
    )
    _, normaliser = likelihood(shop.model, steps, ALL)
    order = np.argsort(rows)
    place = order[np.searchsorted(rows[order], anchors)]
    slates = draw_slates(shop.catalogue.traits.popularity, shop.model.launched[day], num_slates, config, rng)
    shown_at = steps.take(place)
    probs = click_probs(shop.model, shown_at, normaliser[place], slates.items, config)
    return ShownSlates(
        user=shown_at.user,
        session=events.session[anchors],
        timestamp=events.timestamp[anchors],
        device=sessions.device[events.session[anchors]],
        items=slates.items,
        clicked=draw_clicks(probs, shop.population.latent_on(day)[shown_at.user], rng),
        propensity=slates.propensity,
    )
