"""The best possible ranking of a simulated shop, and what it loses when a signal is taken away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts import columns as c
from contracts.errors import DataError
from contracts.ids import BoolArray, FloatArray, IntArray, LongArray
from training.simulator.choice import DEVICES
from training.simulator.observed import Steps, observe
from training.simulator.posterior import ALL, Belief, Knowledge, believe
from training.simulator.scoring import score_block
from training.simulator.shop import Profiles
from training.simulator.tables import USER_GENDERS
from training.simulator.truth import Truth

NUM_HELD_OUT_DAYS: Final = 2
_BLOCK_ROWS = 1_024


class Variant(StrEnum):
    """The oracle and its ablations; all know the choice model and the launched items.

    - `full`: p(item | everything observable before the event), the ceiling. The posterior of z conditions on age bin,
      gender and all earlier choices of the user with their contexts; the score also on the event's own day, device,
      daypart, weekend, last item and the session's items so far.
    - `true_latent`: as `full` with the user's class z told. No observer can reach it.
    - `no_last_item`: nothing is known of K(. | last): posterior and score take every choice to come from B_z and the
      uniform share. Items already chosen in the session are still known.
    - `no_context`: device, daypart and weekend are averaged out of q, in posterior and score.
    - `no_content`: items without an interaction in the training days are told apart from the others but not from each
      other: each gets their mean score. The posterior is that of `full`, which favours this variant slightly.
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
        item: rows of the items table that were chosen [T].
        user: rows of the users table [T].
        steps: all events of these users up to the last held-out day.
        rows: the held-out ones among `steps` [T].
    """

    event_ids: tuple[str, ...]
    item: IntArray
    user: IntArray
    steps: Steps
    rows: LongArray

    def __len__(self) -> int:
        return len(self.event_ids)


class Oracle:
    """Scores all items of a simulated shop for held-out events.

    Args:
        raw_dir: raw tables with their truth.
        truth: what only the simulator knows.
        item_ids: raw ids in the order of the items table and of all scores.
        user_ids: raw ids in the order of the users table.
        profiles: of the users.
    """

    def __init__(
        self, raw_dir: Path, truth: Truth, item_ids: tuple[str, ...], user_ids: pa.Array, profiles: Profiles
    ) -> None:
        self.item_ids = item_ids
        self.truth = truth
        self._raw_dir = raw_dir
        self._user_ids = user_ids
        self._profiles = profiles

    @classmethod
    def open(cls, raw_dir: Path) -> Oracle:
        """Opens the tables of a simulation.

        Raises:
            DataError: the tables have no truth beside them.
        """
        truth = Truth.open(raw_dir)
        users = pq.read_table(raw_dir / c.USERS.name)
        items = pq.read_table(raw_dir / c.ITEMS.name, columns=[c.ITEM_ID])
        gender = pc.fill_null(pc.index_in(users[c.GENDER], pa.array(USER_GENDERS[:-1])), len(USER_GENDERS) - 1)
        profiles = Profiles(users[c.AGE].to_numpy().astype(np.float32), gender.to_numpy().astype(np.int32))
        item_ids = tuple(items[c.ITEM_ID].to_pylist())
        return cls(raw_dir, truth, item_ids, users[c.USER_ID].combine_chunks(), profiles)

    def sample(self, day: str, max_events: int | None = None, seed: int = 0) -> OracleEvents:
        """Events of one day `YYYY-MM-DD`, all or a seeded sample, in the order of the table."""
        event_ids = self._read_day(day, [c.EVENT_ID])[c.EVENT_ID]
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
        looked = tuple(days or self.truth.period.names)
        users, found, last_day = [], [], looked[0]
        for day in looked:
            table = self._read_day(day, [c.USER_ID, c.EVENT_ID])
            hits = table.filter(pc.is_in(table[c.EVENT_ID], wanted))
            if len(hits):
                last_day = max(last_day, day)
                found.extend(hits[c.EVENT_ID].to_pylist())
                users.extend(hits[c.USER_ID].to_pylist())
        missing = set(event_ids) - set(found)
        if missing:
            raise DataError(
                f"{len(missing)} of {len(event_ids)} events are not in {self._raw_dir}, for example {min(missing)!r}; "
                f"looked in {looked[0]} to {looked[-1]}"
            )
        return self._with_history(wanted, pa.array(users, pa.string()), last_day)

    def _with_history(self, event_ids: pa.Array, users: pa.Array, last_day: str) -> OracleEvents:
        """Reads all events of the users up to and with `last_day`."""
        names = [c.USER_ID, c.ITEM_ID, c.TIMESTAMP, c.DEVICE_TYPE, c.EVENT_ID]
        parts = []
        for day in self.truth.period.names:
            if day <= last_day:
                table = self._read_day(day, names)
                parts.append(table.filter(pc.is_in(table[c.USER_ID], users)))
        table = pa.concat_tables(parts)
        user = _codes(table[c.USER_ID], self._user_ids)
        timestamp = table[c.TIMESTAMP].to_numpy()
        order = np.lexsort((timestamp, user))
        steps = observe(
            self._profiles,
            self.truth.period.calendar,
            self.truth.period.first_day,
            user=user[order],
            timestamp=timestamp[order],
            device=_codes(table[c.DEVICE_TYPE], pa.array(DEVICES))[order],
            item=_codes(table[c.ITEM_ID], pa.array(self.item_ids))[order],
        )
        rows = np.empty(len(table), dtype=np.int64)
        rows[order] = np.arange(len(table))
        rows = rows[_codes(event_ids, table[c.EVENT_ID])]
        return OracleEvents(tuple(event_ids.to_pylist()), steps.item[rows], steps.user[rows], steps, rows)

    def scores(
        self, events: OracleEvents, variant: Variant, train_end: str | None = None
    ) -> Iterator[tuple[LongArray, FloatArray]]:
        """Yields blocks of events and the probability of each item to be their choice.

        Args:
            events: T held-out events.
            variant: what the scorer knows.
            train_end: the first day after training, for `no_content`; the last two days are held out if not given.

        Yields:
            Positions in `events` [B] and scores [B, N], -inf for items not launched at the event; N in the order of
            `item_ids`. Every event comes once.
        """
        model, steps = self.truth.model, events.steps.take(events.rows)
        knowledge = _KNOWLEDGE.get(variant, ALL)
        belief = self.belief(events, variant)
        unknown = self._unknown_items(train_end) if variant is Variant.NO_CONTENT else None
        order = np.lexsort((steps.gender, steps.day))
        group = steps.day[order] * len(USER_GENDERS) + steps.gender[order]
        cuts = np.flatnonzero(np.diff(group)) + 1
        for rows in np.split(order, cuts):
            for start in range(0, len(rows), _BLOCK_ROWS):
                block = rows[start : start + _BLOCK_ROWS]
                weight = belief.posterior[block] / belief.normaliser[block]
                yield block, score_block(model, steps.take(block), weight, knowledge, unknown)

    def belief(self, events: OracleEvents, variant: Variant) -> Belief:
        """What the variant knows of the users' classes before each event."""
        model = self.truth.model
        belief = believe(model, events.steps, events.rows, _KNOWLEDGE.get(variant, ALL))
        if variant is not Variant.TRUE_LATENT:
            return belief
        latent = self.truth.latent
        day = np.minimum(events.steps.day[events.rows], latent.shape[1] - 1)
        return Belief(np.eye(model.prior.shape[-1])[latent[events.user, day]], belief.normaliser)

    def _unknown_items(self, train_end: str | None) -> BoolArray:
        """Items without an interaction before `train_end` [N]."""
        end = train_end or self.truth.period.names[-NUM_HELD_OUT_DAYS]
        known = np.zeros(len(self.item_ids), dtype=np.bool_)
        for day in self.truth.period.names:
            if day < end:
                known[_codes(self._read_day(day, [c.ITEM_ID])[c.ITEM_ID], pa.array(self.item_ids))] = True
        return ~known

    def _read_day(self, day: str, names: list[str]) -> pa.Table:
        folder = self._raw_dir / c.INTERACTIONS.name / f"{c.DAY}={day}"
        if not folder.is_dir():
            raise DataError(
                f"no interactions of {day} in {self._raw_dir}; days are {', '.join(self.truth.period.names)}"
            )
        return pq.read_table(folder, columns=names, partitioning=None)


def _codes(values: pa.ChunkedArray, names: pa.Array | pa.ChunkedArray) -> IntArray:
    """The position of each value in `names`, which holds them all."""
    codes: IntArray = pc.index_in(values, names).to_numpy()
    return codes
