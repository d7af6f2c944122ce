"""Query features of a batch: user lookup, transforms of user and context, and history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.encoders import Values
from contracts.feature import Side
from contracts.ids import LongArray
from contracts.messages import QueryFeatures, RequestBatch
from contracts.transforms import FittedTransforms
from contracts.user_records import UserRecords
from serving.stages.history import HistoryBuilder
from serving.stages.user_lookup import UserLookup
from serving.stages.version import refuse_other_version


@dataclass(frozen=True)
class LookedUp:
    """Query features of B requests and, per request, the needed stores that did not answer."""

    features: QueryFeatures
    degraded: tuple[tuple[str, ...], ...]


class QueryFeatureBuilder:
    """Turns requests and user records into model inputs, with the same code as offline.

    Reference model: 0 context_preprocessor
    Input: the context of each request, Unix seconds or 0
    Output: the same with now instead of 0; unknown values are missing
    Artifacts: none
    Failure: none: nothing is looked up
    Cadence: now from the clock

    Reference model: 1b nvt_user_transform
    Input: records of users, recent items of the request
    Output: encoded columns of the user, history; a user whom the store lacks is out of vocabulary
    Artifacts: schema, vocabularies, means and spreads
    Failure: as query features: all users are unknown, `query_features` in `degraded`
    Cadence: fitted at a full build

    Reference model: 1c nvt_context_transform
    Input: the context, Unix seconds
    Output: encoded columns of the context; sines and cosines of shop-local hour and weekday
    Artifacts: schema, vocabularies, time zone of the shop
    Failure: as query features: all users are unknown, `query_features` in `degraded`
    Cadence: fitted at a full build
    """

    def __init__(self, bundle_version: str, transforms: FittedTransforms, history: HistoryBuilder) -> None:
        self._version = bundle_version
        self._transforms = transforms
        self._history = history

    @classmethod
    def open(cls, bundle: Bundle) -> QueryFeatureBuilder:
        """Reads the transforms of a bundle."""
        return cls(bundle.version, bundle.transforms, HistoryBuilder.open(bundle))

    def __call__(self, batch: RequestBatch, records: UserRecords) -> LookedUp:
        """Model inputs of the query side.

        Raises:
            BundleError: the batch is of another bundle version.
        """
        refuse_other_version(batch.bundle_version, self._version)
        values = {**user_values(batch, records), **context_values(batch)}
        columns = self._transforms.side(Side.QUERY, values, len(batch))
        now = np.full(len(batch), batch.now, dtype=np.int64)
        history = self._history(batch, records.recent)
        return LookedUp(QueryFeatures(batch.bundle_version, now, columns, history), records.degraded)


def user_values(batch: RequestBatch, records: UserRecords) -> dict[str, Values]:
    """Raw values [B] of the columns of users; None as the id of a user whom the store lacks."""
    known = zip(batch.user_ids, records.known.tolist(), strict=True)
    return {**records.columns, c.USER_ID: tuple(user if is_known else None for user, is_known in known)}


def context_values(batch: RequestBatch) -> dict[str, Values]:
    """Raw values [B] of the columns of the context, with the times."""
    return {**batch.context, c.TIMESTAMP: request_times(batch)}


def request_times(batch: RequestBatch) -> LongArray:
    """Times [B] of the requests, Unix seconds; now for a request without one."""
    return np.where(batch.context_time == 0, batch.now, batch.context_time)


class QueryFeatureStage:
    """The stage: one user lookup for the batch, then model inputs."""

    def __init__(self, lookup: UserLookup, builder: QueryFeatureBuilder) -> None:
        self._lookup = lookup
        self._builder = builder

    async def __call__(self, batch: RequestBatch) -> LookedUp:
        """Query features of the requests.

        Raises:
            BundleError: the batch is of another bundle version.
            StoreError: a store did not answer and the policy is `fail`.
        """
        return self._builder(batch, await self._lookup(batch))
