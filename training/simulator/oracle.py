"""The best possible ranking of a simulated shop, and ablations of its signals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts.errors import DataError
from contracts.ids import BoolArray, FloatArray, IntArray, LongArray
from training.simulator.event_log import EventLog, codes
from training.simulator.observed import Steps
from training.simulator.posterior import ALL, Belief, Knowledge, believe
from training.simulator.scoring import score_block
from training.simulator.traits import NO_GENDER

_NUM_HELD_OUT_DAYS = 2
_BLOCK_ROWS = 1_024


class Variant(StrEnum):
    """The oracle and its ablations; all know the choice model and the launched items.

    - `full`: p(item | everything observable before the event), the ceiling. The posterior of z conditions on age bin,
      gender and all earlier choices of the user with their contexts; the score also on the event's own day, device,
      daypart, weekend, last item and the session's items so far.
    - `true_latent`: as `full`, but with the user's class z known. No observer can reach it.
    - `no_last_item`: without K(. | last): posterior and score assume that every choice comes from B_z and the uniform
      share. Items already chosen in the session are still known.
    - `no_context`: device, daypart and weekend are averaged out of q, in posterior and score.
    - `no_content`: items without an interaction in the training days cannot be told from each other: each gets their
      mean score. The posterior is that of `full`, which favours this variant slightly.
    - `cold_user`: age, gender and context only: z from its prior, no history and no session.
    """

    FULL = "full"
    TRUE_LATENT = "true_latent"
    NO_LAST_ITEM = "no_last_item"
    NO_CONTEXT = "no_context"
    NO_CONTENT = "no_content"
    COLD_USER = "cold_user"


_KNOWLEDGE: Final = {
    Variant.NO_LAST_ITEM: Knowledge(last_item=False),
    Variant.NO_CONTEXT: Knowledge(context=False),
    Variant.COLD_USER: Knowledge(last_item=False, history=False),
}


@dataclass(frozen=True)
class OracleEvents:
    """T held-out events with all earlier events of their users.

    Attributes:
        event_ids: [T].
        item: chosen rows of the items table [T].
        user: rows of the users table [T].
        steps: all events of these users up to the last held-out day.
        rows: rows of the held-out events in `steps` [T].
    """

    event_ids: tuple[str, ...]
    item: IntArray
    user: IntArray
    steps: Steps
    rows: LongArray

    def __len__(self) -> int:
        return len(self.event_ids)


class Oracle:
    """Scores all items of a simulated shop for held-out events."""

    def __init__(self, log: EventLog) -> None:
        self.truth = log.truth
        self.item_ids: tuple[str, ...] = tuple(log.item_ids.to_pylist())
        """Raw ids in the order of the items table and of all scores."""
        self._log = log

    @classmethod
    def open(cls, raw_dir: Path) -> Oracle:
        """Opens the tables of a simulation.

        Raises:
            DataError: the tables have no truth.
        """
        return cls(EventLog.open(raw_dir))

    def sample(self, day: str, max_events: int | None = None, seed: int = 0) -> OracleEvents:
        """Events of one day `YYYY-MM-DD`, all or a seeded sample, in the order of the table.

        Raises:
            DataError: there is no such day.
        """
        event_ids = self._log.read_day(c.INTERACTIONS, day, [c.EVENT_ID])[c.EVENT_ID]
        if max_events is not None and max_events < len(event_ids):
            chosen = np.random.default_rng(seed).choice(len(event_ids), max_events, replace=False)
            event_ids = event_ids.take(pa.array(np.sort(chosen)))
        return self.find(event_ids.to_pylist(), (day,))

    def find(self, event_ids: Sequence[str], days: Sequence[str] | None = None) -> OracleEvents:
        """The named events, in the given order.

        Args:
            event_ids: T ids.
            days: the days to look in; all if not given.

        Raises:
            DataError: an id is not there.
        """
        wanted = pa.array(event_ids, pa.string())
        looked = sorted(days or self._log.days)
        users, found, last_day = [], [], looked[0]
        for day in looked:
            table = self._log.read_day(c.INTERACTIONS, day, [c.USER_ID, c.EVENT_ID])
            hits = table.filter(pc.is_in(table[c.EVENT_ID], wanted))
            if len(hits):
                last_day = day
                found.extend(hits[c.EVENT_ID].to_pylist())
                users.extend(hits[c.USER_ID].to_pylist())
        missing = set(event_ids) - set(found)
        if missing:
            raise DataError(
                f"{len(missing)} of {len(event_ids)} events are not in {self._log.raw_dir}, "
                f"for example {min(missing)!r}; looked in {looked[0]} to {looked[-1]}"
            )
        histories = self._log.histories(pa.array(users, pa.string()), last_day)
        rows = codes(wanted, histories.event_ids).astype(np.int64)
        steps = histories.steps
        return OracleEvents(tuple(event_ids), steps.item[rows], steps.user[rows], steps, rows)

    def scores(
        self, events: OracleEvents, variant: Variant, train_end: str | None = None
    ) -> Iterator[tuple[LongArray, FloatArray]]:
        """Yields blocks of events, with the probability that each item is the choice.

        Args:
            events: T held-out events.
            variant: what the scorer knows.
            train_end: the first day after training, for `no_content`; by default the last two days are held out.

        Yields:
            Positions in `events` [B] and scores [B, N], -inf for items not launched at the event; N in the order of
            `item_ids`. Every event occurs once.
        """
        model, steps = self.truth.model, events.steps.take(events.rows)
        knowledge = _KNOWLEDGE.get(variant, ALL)
        belief = self.belief(events, variant)
        unknown = self._unknown_items(train_end) if variant is Variant.NO_CONTENT else None
        order = np.lexsort((steps.gender, steps.day))
        group = steps.day[order] * (NO_GENDER + 1) + steps.gender[order]
        cuts = np.flatnonzero(np.diff(group)) + 1
        for rows in np.split(order, cuts):
            for start in range(0, len(rows), _BLOCK_ROWS):
                block = rows[start : start + _BLOCK_ROWS]
                weight = belief.posterior[block] / belief.normaliser[block]
                yield block, score_block(model, steps.take(block), weight, knowledge, unknown)

    def belief(self, events: OracleEvents, variant: Variant) -> Belief:
        """The variant's posterior of the users' classes before each event."""
        model = self.truth.model
        belief = believe(model, events.steps, events.rows, _KNOWLEDGE.get(variant, ALL))
        if variant is not Variant.TRUE_LATENT:
            return belief
        latent = self.truth.latent
        day = np.minimum(events.steps.day[events.rows], latent.shape[1] - 1)
        return Belief(np.eye(model.prior.shape[-1])[latent[events.user, day]], belief.normaliser)

    def _unknown_items(self, train_end: str | None) -> BoolArray:
        """Items without an interaction before `train_end` [N]."""
        end = train_end or self._log.days[-_NUM_HELD_OUT_DAYS]
        known = np.zeros(len(self.item_ids), dtype=np.bool_)
        for day in self._log.days:
            if day < end:
                items = self._log.read_day(c.INTERACTIONS, day, [c.ITEM_ID])[c.ITEM_ID]
                known[codes(pc.unique(items), self._log.item_ids)] = True
        return ~known
