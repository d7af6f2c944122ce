"""The best possible click probabilities for the logged slates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts.ids import BoolArray, FloatArray, IntArray, LongArray
from training.simulator.event_log import EventLog, UserHistories, codes
from training.simulator.impressions import click_evidence, click_probs
from training.simulator.posterior import ALL, believe


@dataclass(frozen=True)
class ClickScores:
    """S slates of L items.

    Attributes:
        request_ids: [S].
        items: rows of the items table [S, L].
        clicked: [S, L].
        probability: Bayes probability of a click [S, L].
    """

    request_ids: tuple[str, ...]
    items: IntArray
    clicked: BoolArray
    probability: FloatArray


def score_clicks(raw_dir: Path, day: str) -> ClickScores:
    """The sum over z of p(z | H) * P(click | z) for every item shown on a day `YYYY-MM-DD`.

    H is the user's age bin and gender and everything before the slate: earlier choices, and clicks and non-clicks of
    earlier slates. The main oracle does not know the slates.

    Raises:
        DataError: the tables have no truth, or no impressions on that day.
    """
    log = EventLog.open(raw_dir)
    model, config = log.truth.model, log.truth.impressions
    users = pc.unique(log.read_day(c.IMPRESSIONS, day, [c.USER_ID])[c.USER_ID])
    names = [c.REQUEST_ID, c.USER_ID, c.ITEM_ID, c.POSITION, c.TIMESTAMP, c.CLICKED]
    shown = log.read_users(c.IMPRESSIONS, users, day, names).sort_by(
        [(c.REQUEST_ID, "ascending"), (c.POSITION, "ascending")]
    )
    first = np.flatnonzero(shown[c.POSITION].to_numpy() == 0)
    items = codes(shown[c.ITEM_ID], log.item_ids).reshape(len(first), -1)
    clicked = shown[c.CLICKED].to_numpy().reshape(items.shape)
    slates = shown.take(pa.array(first))
    histories = log.histories(users, day)
    anchors = _anchors(log, histories, slates)

    steps = histories.steps
    moments = steps.take(anchors)
    normaliser = believe(model, steps, anchors, ALL).normaliser
    probs = click_probs(model, moments, normaliser, items, config)
    evidence = np.zeros((len(steps), normaliser.shape[1]))
    evidence[anchors] = click_evidence(probs, clicked)
    asked = np.flatnonzero(moments.day == log.days.index(day))
    posterior = believe(model, steps, anchors[asked], ALL, extra=evidence).posterior
    return ClickScores(
        request_ids=tuple(slates[c.REQUEST_ID].take(pa.array(asked)).to_pylist()),
        items=items[asked],
        clicked=clicked[asked],
        probability=np.einsum("sz,slz->sl", posterior, probs[asked]).astype(np.float32),
    )


def _anchors(log: EventLog, histories: UserHistories, slates: pa.Table) -> LongArray:
    """The event at which each slate is shown: that of the same user and second [S]."""
    span = np.int64(log.truth.period.bounds[-1] + 1)
    events = histories.steps.user * span + histories.timestamp
    wanted = codes(slates[c.USER_ID], log.user_ids) * span + slates[c.TIMESTAMP].to_numpy()
    places: LongArray = np.searchsorted(events, wanted).astype(np.int64)
    return places
