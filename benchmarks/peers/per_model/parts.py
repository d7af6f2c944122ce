"""Models of the reference that the stages fold into others.

Item columns lie ready transformed in the bundle and the ranker reads them by ItemRow, so these run only where each of
the fourteen models is a deployment of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.features import History, item_age_bucket
from contracts.ids import FloatArray, IntArray, LongArray
from contracts.messages import Candidates, QueryFeatures, RequestBatch
from contracts.options import Constraints, Ragged
from contracts.transforms import FittedTransforms, stack_query
from serving.stages.context import Context
from serving.stages.history import HistoryBuilder
from serving.stages.item_lookup import ItemLookup
from serving.stages.query_features import LookedUp
from serving.stages.retrieval import Retrieval
from serving.stages.user_lookup import UserRecords
from serving.stages.user_transform import UserCodes, UserTransform
from serving.stages.version import refuse_other_version
from training.models.item_popularity import ItemPopularity


@dataclass(frozen=True)
class ContextInputs:
    """Device codes [B] int32; hour and weekday as sines and cosines [B, 4] float32."""

    device: IntArray
    cyclic: FloatArray


@dataclass(frozen=True)
class UserInputs:
    """Codes, normalised age [B] float32, its bin [B] int32, and history of B users."""

    codes: UserCodes
    age_norm: FloatArray
    age_binned: IntArray
    history: History


@dataclass(frozen=True)
class ItemInputs:
    """Model inputs of U items: encoded id [U] int32, codes [U, 3] int32, normalised log price [U, 1] float32."""

    encoded_id: IntArray
    categorical: IntArray
    continuous: FloatArray


@dataclass(frozen=True)
class Unrolled:
    """What the ranker reads of T candidates beside their items.

    Attributes:
        owners: the query that each belongs to, [T] int64.
        ages: the item's age bucket then, [T] int32.
        popularity: its popularity then, [T] float32; None where the ranker does not read it.
    """

    owners: LongArray
    ages: IntArray
    popularity: FloatArray | None = None


class ContextTransform:
    """Device and time to model inputs; in the stages a part of the query features."""

    def __init__(self, transforms: FittedTransforms) -> None:
        self._transforms = transforms
        self._context = Context(transforms)

    def __call__(self, batch: RequestBatch) -> ContextInputs:
        """Inputs of B requests."""
        device, times = self._context(batch)
        return ContextInputs(device, self._transforms.context(times))


class UserInputTransform:
    """What the stores know of users to model inputs; in the stages a part of the query features."""

    def __init__(self, bundle: Bundle) -> None:
        self._version = bundle.version
        self._transforms = bundle.transforms
        self._codes = UserTransform(bundle.transforms)
        self._history = HistoryBuilder.open(bundle)

    def __call__(self, batch: RequestBatch, records: UserRecords) -> UserInputs:
        """Inputs of B requests.

        Raises:
            BundleError: the batch is of another bundle version.
        """
        refuse_other_version(batch.bundle_version, self._version)
        age_norm, age_binned = self._transforms.age(records.ages)
        return UserInputs(self._codes(batch, records), age_norm, age_binned, self._history(batch, records.recent))


def join_query(batch: RequestBatch, records: UserRecords, user: UserInputs, context: ContextInputs) -> LookedUp:
    """The query features that models 1b and 1c give together."""
    codes = user.codes
    categorical, continuous = stack_query(
        user_codes=codes.user,
        gender_codes=codes.gender,
        age_norm=user.age_norm,
        age_binned=user.age_binned,
        top_category=codes.top_category,
        top_category_long=codes.top_category_long,
        device_codes=context.device,
        cyclic=context.cyclic,
    )
    now = np.full(len(batch), batch.now, dtype=np.int64)
    return LookedUp(QueryFeatures(batch.bundle_version, now, categorical, continuous, user.history), records.degraded)


class CandidateSearch:
    """Candidates of query embeddings that another deployment has computed."""

    def __init__(self, bundle: Bundle, retrieval: Retrieval) -> None:
        self._version = bundle.version
        self._retrieval = retrieval

    def __call__(
        self,
        queries: QueryFeatures,
        embeddings: FloatArray,
        constraints: Constraints | None = None,
        given: Ragged | None = None,
    ) -> Candidates:
        """As the stage answers; embeddings are [B, E].

        Raises:
            BundleError: the queries are of another bundle version.
        """
        refuse_other_version(queries.bundle_version, self._version)
        return self._retrieval.search(queries.now, embeddings, constraints, given)


class ItemTransform:
    """Item columns to model inputs; in the stages they lie ready transformed in the bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._transforms = bundle.transforms
        self._encoded_id = bundle.array("ranker/encoded_id")

    def __call__(self, rows: IntArray, columns: ItemLookup) -> ItemInputs:
        """Inputs of ItemRows [U] and their columns."""
        price = self._transforms.price(columns.prices)
        return ItemInputs(self._encoded_id[rows], columns.codes, price[:, None])


class Unroll:
    """Which query each candidate belongs to, and its age and popularity at that query's time.

    The ranker reads a query's features by its place, so they are repeated by reference.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._launched_at = bundle.items.launched_at
        self._popularity = ItemPopularity.open(bundle)

    def __call__(self, queries: QueryFeatures, candidates: Candidates) -> Unrolled:
        """One entry a candidate [T]."""
        owners = candidates.owners
        ages = item_age_bucket(self._launched_at[candidates.rows], queries.now[owners])
        table = self._popularity
        popularity = None if table is None else table.of(candidates.rows, owners, queries.now)
        return Unrolled(owners, ages, popularity)


class ItemDecoder:
    """Raw ids of ranked items; in the stages the gateway reads them with the metadata."""

    def __init__(self, bundle: Bundle) -> None:
        self._raw_ids = bundle.strings(f"items/{c.ITEM_ID}")

    def __call__(self, candidates: Candidates) -> list[str | None]:
        """Raw ids [T]."""
        return [self._raw_ids[row] for row in candidates.rows.tolist()]
