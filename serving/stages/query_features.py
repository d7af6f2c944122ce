"""The query features: context, user lookup and transforms, and history, for a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.bundle import Bundle
from contracts.messages import QueryFeatures, RequestBatch
from contracts.transforms import FittedTransforms, query_arrays
from serving.stages.context import Context
from serving.stages.history import HistoryBuilder
from serving.stages.user_lookup import UserLookup, UserRecords
from serving.stages.user_transform import UserTransform
from serving.stages.version import refuse_other_version


@dataclass(frozen=True)
class LookedUp:
    """Query features of B requests and, per request, the stores that it needed and that did not answer."""

    features: QueryFeatures
    degraded: tuple[tuple[str, ...], ...]


class QueryFeatureBuilder:
    """Requests and user records to model inputs: the same code as offline.

    Reference model: 1c nvt_context_transform
    Input: device type, Unix seconds
    Output: device code; sines and cosines of shop-local hour and weekday
    Artifacts: vocabulary of devices, time zone of the shop
    Failure: with the query features: nobody is known, `query_features` in `degraded`
    Cadence: fitted at a full build
    """

    def __init__(self, bundle_version: str, transforms: FittedTransforms, history: HistoryBuilder) -> None:
        self._version = bundle_version
        self._transforms = transforms
        self._context = Context(transforms)
        self._user = UserTransform(transforms)
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
        device_codes, context_time = self._context(batch)
        codes = self._user(batch, records)
        categorical, continuous = query_arrays(
            self._transforms,
            user_codes=codes.user,
            gender_codes=codes.gender,
            ages=records.ages,
            top_category=codes.top_category,
            top_category_long=codes.top_category_long,
            device_codes=device_codes,
            context_time=context_time,
        )
        now = np.full(len(batch), batch.now, dtype=np.int64)
        history = self._history(batch, records.recent)
        return LookedUp(QueryFeatures(batch.bundle_version, now, categorical, continuous, history), records.degraded)


class QueryFeatureStage:
    """The whole stage: stores asked once for the batch, then model inputs."""

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
