"""Estimates the reward of another policy of drawing lists from the lists of visitors who explored.

Each pick was logged with its probability given the picks above it. Rewards are weighted by the ratio of the target
policy's probability to the logged one, which gives the target policy's expected reward: the estimator of Horvitz &
Thompson, "A generalization of sampling without replacement from a finite universe", JASA 47 (1952). Divided by the sum
of the weights instead of their number it has less variance and a bias that vanishes with the size of the log:
Swaminathan & Joachims, "The self-normalized estimator for counterfactual learning", NIPS 2015. The weight of a reward
covers the picks down to its position, which is right if it depends on them alone: McInerney et al., "Counterfactual
evaluation of slate recommendations with sequential reward interactions", KDD 2020.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts import records as r
from contracts.errors import DataError
from contracts.ids import AnyArray
from training.compaction import attributed
from training.evaluation.bootstrap import Estimate
from training.records import erased_users, read_records
from training.subjects import subjects_of

REWARD = "reward"
_COLUMNS = (
    c.REQUEST_ID,
    c.POSITION,
    c.ITEM_ID,
    c.USER_ID,
    c.SESSION_ID,
    c.TIMESTAMP,
    c.BUNDLE_VERSION,
    c.ARM,
    c.PROPENSITY,
)
_DEVIATIONS = 1.96

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OffPolicyEstimate:
    """The expected reward of a request under the target policy.

    Attributes:
        ips: inverse propensity score with its 95 % interval; n = requests.
        snips: the self-normalised one, None where no request has a weight.
        effective_sample_size: number of unweighted requests with the same information, at the deepest position.
    """

    ips: Estimate
    snips: float | None
    effective_sample_size: float


def read_explored(folder: Path, events: Sequence[str], window_s: int, now: int) -> pa.Table:
    """Reads the impressions of visitors who explored, in order of request, subject and position.

    Args:
        folder: of the shop's records.
        events: kinds of events that are a reward.
        window_s: seconds within which an event with the same request and item counts.
        now: Unix seconds; impressions whose window is still open are left out.

    Returns:
        request_id, position, item_id, user_id, session_id, timestamp, bundle_version, arm, propensity and `reward`
        (0 or 1). Rows of erased users are left out, and so are requests with a missing position or with more than one
        list.

    Raises:
        DataError: an explored impression has no propensity in (0, 1], or a file cannot be read.
        SchemaError: a file lacks a column or has one of a wrong type.
    """
    shown = read_records(folder, r.IMPRESSIONS)
    shown = shown.filter(pc.and_(pc.fill_null(shown[c.EXPLORED], False), pc.less(shown[c.TIMESTAMP], now - window_s)))
    shown = shown.filter(pc.invert(pc.is_in(shown[c.USER_ID], erased_users(folder))))
    shown = shown.select(_COLUMNS).group_by(list(_COLUMNS)).aggregate([])  # repeats are equal
    shown = shown.take(np.lexsort((shown[c.POSITION].to_numpy(), _lists(shown))))
    propensity = pc.fill_null(shown[c.PROPENSITY], np.nan).to_numpy()
    wrong = np.flatnonzero(~((propensity > 0) & (propensity <= 1)))
    if len(wrong):
        where = shown.slice(int(wrong[0]), 1).to_pylist()[0]
        raise DataError(
            f"{len(wrong)} explored impressions without a propensity in (0, 1], for example {where[c.PROPENSITY]} of "
            f"request {where[c.REQUEST_ID]!r} at position {where[c.POSITION]}"
        )
    _, starts, sizes = np.unique(_lists(shown), return_index=True, return_counts=True)
    in_turn = shown[c.POSITION].to_numpy() == np.arange(len(shown)) - np.repeat(starts, sizes)
    whole = np.logical_and.reduceat(in_turn, starts)
    if not whole.all():
        logger.warning("%d explored requests are left out: their positions are not 0, 1, …", (~whole).sum())
    shown = shown.filter(pa.array(np.repeat(whole, sizes)))
    reward = attributed(shown, read_records(folder, r.INTERACTIONS), events, window_s)
    return shown.append_column(REWARD, pa.array(reward.astype(np.float64)))


def estimate(explored: pa.Table, target: AnyArray, num_positions: int) -> OffPolicyEstimate:
    """The expected reward of the first positions of a request.

    Args:
        explored: as from `read_explored`, n rows.
        target: the target policy's probability of each pick given the picks above it [n]; it must be 0 for picks that
            the exploring lists could not show.
        num_positions: K; deeper weights vary more, and the effective sample size tells how much.
    """
    if target.shape != (len(explored),) or not ((target >= 0) & (target <= 1)).all():
        raise ValueError(f"target must be [{len(explored)}] probabilities, got {target.shape}, {target}")
    request = _lists(explored)
    position = explored[c.POSITION].to_numpy()
    shallow = position < num_positions
    weights = np.ones((int(request.max(initial=-1)) + 1, num_positions))
    rewards = np.zeros_like(weights)
    cells = request[shallow], position[shallow]
    weights[cells] = (target / explored[c.PROPENSITY].to_numpy())[shallow]
    rewards[cells] = explored[REWARD].to_numpy()[shallow]
    weights = weights.cumprod(axis=1)
    sums, squares = weights.sum(axis=0), float((weights[:, -1] ** 2).sum())
    some = len(weights) > 0 and (sums > 0).all()
    visitors = pc.coalesce(subjects_of(explored), explored[c.REQUEST_ID]).combine_chunks()
    visitor = visitors.dictionary_encode().indices.to_numpy()[position == 0]
    return OffPolicyEstimate(
        ips=_mean((weights * rewards).sum(axis=1), visitor),
        snips=float(((weights * rewards).sum(axis=0) / sums).sum()) if some else None,
        effective_sample_size=float(sums[-1] ** 2 / squares) if squares else 0.0,
    )


def _lists(rows: pa.Table) -> AnyArray:
    """Number of each row's list [n], 0, 1, … in order of request id and subject."""
    _, request = np.unique(rows[c.REQUEST_ID].to_numpy(), return_inverse=True)
    subjects, subject = np.unique(pc.fill_null(subjects_of(rows), "").to_numpy(), return_inverse=True)
    lists: AnyArray = np.unique(request * len(subjects) + subject, return_inverse=True)[1]
    return lists


def _mean(values: AnyArray, visitor: AnyArray) -> Estimate:
    """The mean of values [n] with its normal interval; values of one visitor [n] may depend on each other."""
    if len(values) == 0:
        return Estimate(None, None, None, 0)
    mean = float(values.mean())
    spread = _DEVIATIONS * float(np.sqrt((np.bincount(visitor, values - mean) ** 2).sum())) / len(values)
    return Estimate(mean, mean - spread, mean + spread, len(values))
